"""Whatever a client sends is either a request or a 400, never a defect (G10)."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.edge.chat_request import ChatRequest
from services.edge.http_errors import ApiError
from services.edge.translate import to_proto
from services.edge.validation import parse_chat_request

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "robot"])
CALLS = st.fixed_dictionaries(
    {"id": st.just("call_1"), "function": st.fixed_dictionaries({"name": st.just("f"), "arguments": st.just("{}")})}
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "other"])},
    optional={"text": SCALARS, "image_url": st.fixed_dictionaries({"url": st.text() | st.just("data:x;base64,QQ==")})},
)
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES},
    optional={
        "content": st.text() | st.lists(PARTS, max_size=3) | SCALARS,
        "tool_calls": st.lists(CALLS, max_size=2),
        "tool_call_id": st.text(max_size=5),
        "name": SCALARS,
    },
)
FIELDS = [name for name in ChatRequest.model_fields if name != "messages"]


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
@given(
    st.lists(MESSAGES, min_size=1, max_size=3) | VALUES,
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4),
)
def test_bodies_of_the_right_shape_with_wrong_values(messages: Any, fields: dict[str, Any]) -> None:
    accepted(json.dumps({"messages": messages, **fields}).encode())


@settings(max_examples=200, deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=3))
def test_conversations(messages: Any) -> None:
    accepted(json.dumps({"messages": messages}).encode())
