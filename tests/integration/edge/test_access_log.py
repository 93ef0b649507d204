"""One event a request, with what operators need and nothing that is the client's own (G11)."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from services.edge.answer import Batch, Delta, Usage
from services.edge.http_errors import ApiError
from tests.integration.edge.edge_world import StartEdge
from tests.integration.edge.scripted_gateway import KEY, ScriptedGateway

CANARY = "canary-77c1"


async def test_a_request_is_one_event(start_edge: StartEdge) -> None:
    edge = await start_edge()
    with capture_logs() as logs:
        body = {"messages": [{"role": "user", "content": "Hello"}]}
        headers = {"x-client-request-id": "mine-1"}
        answer = await edge.client.post("/v1/chat/completions", json=body, headers=headers)
    [event] = [log for log in logs if log["event"] == "request"]
    told: dict[str, Any] = {name: value for name, value in event.items() if not name.endswith("_ms")}
    assert told == {
        "event": "request",
        "log_level": "info",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "request_id": answer.headers["x-request-id"],
        "client_request_id": "mine-1",
        "account_id": "acct_1",
        "key_id": "key_1",
        "model": "muh-chat",
        "charge_id": "00" * 16,
        "prompt_tokens": 7,
        "completion_tokens": 2,
    }
    assert 0 <= event["ttft_ms"] <= event["duration_ms"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("end", ["well", "with a defect", "with an error"])
async def test_nothing_of_the_client_is_logged(start_edge: StartEdge, stream: bool, end: str) -> None:
    ends: dict[str, Any] = {
        "well": Batch([Delta(0, "", finish_reason="stop")], Usage(1, 1)),
        "with a defect": KeyError(CANARY),
        "with an error": ApiError.upstream_error(),
    }
    edge = await start_edge(ScriptedGateway(steps=[Batch([Delta(0, CANARY)]), ends[end]]))
    with capture_logs() as logs:
        await edge.chat(messages=[{"role": "user", "content": CANARY}], user=CANARY, stream=stream)
        await edge.chat(model=CANARY)
        await edge.chat(messages=CANARY)
        await edge.client.get(f"/v1/{CANARY}?key={CANARY}", headers={"authorization": f"Bearer {CANARY}"})
        _, writer = await edge.raw(f"{CANARY} {CANARY}\r\n\r\n".encode())
        writer.close()
    assert len([log for log in logs if log["event"] == "request"]) == 4
    assert CANARY not in str(logs)
    assert KEY not in str(logs)
