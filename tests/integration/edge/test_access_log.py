"""One event a request, with what operators need and nothing that is the client's own (G11)."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from services.edge.peers.errors import Service, Unavailable
from services.edge.serving.answer import Batch, Delta, Usage
from tests.integration.edge.wire import read_answer
from tests.worlds.in_process.http_edge import StartEdge
from tests.worlds.in_process.scripted_gateway import KEY, ScriptedGateway

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
        "with an error": Unavailable(Service.INFERENCE),
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


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        (b"abc-123", "abc-123"),
        (b"\x9b31m red \xff", "31m red "),
        (b"a\tb", "ab"),
        (b"\xc2\x85\xe2\x80\xa8x", "x"),
        (b"mghp_0123456789abcdef", "mghp_\u2026"),
        (b"id_mghp_0123456789abcdef/2", "id_mghp_\u2026/2"),
        (b"mghp_\x800123456789abcdef", "mghp_\u2026"),
        (b"Bearer something-secret", "Bearer \u2026"),
        (b"sk-0123456789abcdef", "sk-\u2026"),
        (b"x" * 1000, "x" * 128),
    ],
)
@pytest.mark.parametrize("path", [b"/v1/models", b"/nowhere"])
async def test_a_clients_own_id_is_logged_as_printable_ascii_without_secrets(
    start_edge: StartEdge, path: bytes, sent: bytes, logged: str
) -> None:
    edge = await start_edge()
    with capture_logs() as logs:
        reader, writer = await edge.raw(
            b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nX-Client-Request-Id: " + sent + b"\r\n\r\n"
        )
        await read_answer(reader)
        writer.close()
    [event] = [log for log in logs if log["event"] == "request"]
    assert event["client_request_id"] == logged
