"""Whatever a client sends is either a request or a 400, never a defect (G10)."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.edge.endpoints.chat.to_work import to_proto
from services.edge.endpoints.chat.validation import parse_chat_request
from services.edge.http.errors import ApiError
from tests.chat_strategies import BODIES, MESSAGES


def accepted(raw: bytes) -> bool:
    refused: ApiError | None = None
    try:
        to_proto(parse_chat_request(raw), "muh-chat").SerializeToString()
    except ApiError as error:
        refused = error
    assert refused is None or (refused.status == 400 and len(refused.body()) < 2_000)
    return refused is None


@given(st.binary(max_size=200))
def test_bytes(raw: bytes) -> None:
    assert not accepted(raw)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(BODIES)
def test_bodies_of_the_right_shape_with_wrong_values(body: Any) -> None:
    accepted(json.dumps(body).encode())


@settings(max_examples=200, deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=3))
def test_conversations(messages: Any) -> None:
    accepted(json.dumps({"messages": messages}).encode())
