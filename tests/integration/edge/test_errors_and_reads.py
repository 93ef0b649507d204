"""Every other path: routes, methods, the order of errors, models, usage, health, the description."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from common.reasons import Reason
from muhgpt.quota.v1 import quota_pb2
from services.edge.endpoints.endpoint import HotLimits
from services.edge.peers.errors import Refused, Service, Unavailable
from services.edge.peers.quota.reports import to_page, to_usage
from tests.worlds.in_process.http_edge import Edge, StartEdge
from tests.worlds.in_process.scripted_gateway import ScriptedGateway

CHAT = "/v1/chat/completions"
WRONG = {"authorization": "Bearer mghp_wrong"}


def error_of(answer: httpx.Response) -> dict[str, Any]:
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"].startswith("req_")
    error: dict[str, Any] = body["error"]
    return error


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
async def test_the_chat_route_takes_posts_only(edge: Edge, method: str) -> None:
    answer = await edge.client.request(method, CHAT)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "OPTIONS, POST"
    assert error_of(answer)["type"] == "invalid_request_error"


async def test_the_read_routes_take_gets_only(edge: Edge) -> None:
    for path in ("/v1/models", "/v1/models/muh-chat", "/v1/usage", "/healthz"):
        answer = await edge.client.post(path)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("path", ["/", "/nope", "/v1", "/v1/", "/v1/chat/completions/", "/v1/embeddings", "/docs"])
async def test_an_unknown_route_is_404(edge: Edge, path: str) -> None:
    answer = await edge.client.get(path)
    assert answer.status_code == 404
    assert error_of(answer)["type"] == "invalid_request_error"


async def test_head_is_get_without_a_body_and_options_tells_the_methods(edge: Edge) -> None:
    head = await edge.client.head("/v1/models")
    get = await edge.client.get("/v1/models")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]
    assert (await edge.client.options(CHAT)).headers["allow"] == "OPTIONS, POST"
    assert (await edge.client.options("/nope")).status_code == 404


async def test_when_several_errors_apply_the_first_of_the_list_wins(start_edge: StartEdge) -> None:
    gateway = ScriptedGateway(allowed=frozenset({"muh-chat"}), open_error=Refused(Reason.RATE_LIMITED, retry_after=1))
    edge = await start_edge(gateway, limits=HotLimits(max_body_bytes=200))
    form = {"content-type": "application/x-www-form-urlencoded"}
    hello = '"messages":[{"role":"user","content":"x"}]'

    async def post(content: str, **headers: str) -> int:
        sent = {"content-type": "application/json", **headers}
        return (await edge.client.post(CHAT, content=content, headers=sent)).status_code

    large = "x" * 300
    assert await post(large, **form, **WRONG) == 401
    assert await post(large, **form) == 413
    assert await post("{", **form) == 415
    assert await post('{"model":"gpt-9","messages":[]}') == 400
    assert await post('{"model":"gpt-9",' + hello + "}") == 404
    assert await post('{"model":"gpt-4o",' + hello + "}") == 403
    assert await post("{" + hello + "}") == 429


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/vnd.api+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
async def test_a_body_must_be_declared_as_json(edge: Edge, media_type: str, status: int) -> None:
    content = b'{"messages":[{"role":"user","content":"x"}]}'
    answer = await edge.client.post(CHAT, content=content, headers={"content-type": media_type})
    assert answer.status_code == status
    if status == 415:
        assert error_of(answer)["type"] == "invalid_request_error"


async def test_a_compressed_body_is_refused(edge: Edge) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert (await edge.client.post(CHAT, content=b"\x1f\x8b", headers=headers)).status_code == 415


async def test_every_v1_route_wants_a_key(edge: Edge) -> None:
    for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/models/x"), ("GET", "/v1/usage?days=x")):
        answer = await edge.client.request(method, path, headers=WRONG)
        assert answer.status_code == 401
        assert error_of(answer)["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_auth_that_cannot_be_asked_is_503_everywhere(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(authenticate_error=Unavailable(Service.AUTH)))
    for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/usage")):
        assert (await edge.client.request(method, path)).status_code == 503


async def test_models_are_listed_in_openais_shape(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(allowed=frozenset({"muh-chat", "gpt-4o"})))
    listed = (await edge.client.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["muh-chat", "gpt-4o"]
    assert (await edge.client.get("/v1/models/gpt-4o")).json() == {
        "id": "gpt-4o",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "muhgpt",
        "context_length": 2048,
        "abilities": ["tools", "json"],
    }
    assert (await edge.client.get("/v1/models/gpt-9")).status_code == 404
    assert (await edge.client.get("/v1/models/gpt-4o-mini")).status_code == 403


async def test_usage_is_exactly_the_references_shape(start_edge: StartEdge) -> None:
    usage = quota_pb2.GetUsageResponse(
        balance=13997015,
        totals=quota_pb2.UsageTotals(credits=2985, tokens=2985, requests=10),
        days=[quota_pb2.UsageDay(day="2026-06-10", credits=2933, requests=8)],
        models=[quota_pb2.UsageModel(model="muh-chat", credits=2933)],
    )
    edge = await start_edge(ScriptedGateway(usage_answer=to_usage(usage)))
    assert (await edge.client.get("/v1/usage")).json() == {
        "object": "usage",
        "balance": 13997015,
        "totals": {"credits": 2985, "tokens": 2985, "requests": 10},
        "daily": [{"day": "2026-06-10", "credits": 2933, "requests": 8}],
        "by_model": [{"model": "muh-chat", "credits": 2933}],
    }


async def test_a_range_of_days_reaches_quota(edge: Edge) -> None:
    await edge.client.get("/v1/usage?start=2026-01-01&end=2026-01-31")
    assert edge.gateway.days == [("2026-01-01", "2026-01-31")]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("days=0", "days"),
        ("days=366", "days"),
        ("days=x", "days"),
        ("days=5&start=2026-01-01", "days"),
        ("start=yesterday", "start"),
        ("end=0", "end"),
        ("end=2026-01-01T00:00:00", "end"),
        ("start=2026-02-30", "start"),
        ("start=2026-02-02&end=2026-02-01", "start"),
        ("start=2020-01-01&end=2026-02-01", "start"),
        ("end=0001-01-05", "end"),
    ],
)
async def test_a_wrong_range_of_days_is_named(edge: Edge, query: str, param: str) -> None:
    answer = await edge.client.get(f"/v1/usage?{query}")
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param


async def test_reads_have_a_generous_bound_of_their_own(start_edge: StartEdge) -> None:
    edge = await start_edge(reads=3)
    answers = [await edge.client.get("/v1/models") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert (await edge.chat()).status_code == 200


async def test_a_defect_in_a_read_route_has_the_one_shape(start_edge: StartEdge) -> None:
    edge = await start_edge(ScriptedGateway(usage_answer=None))  # type: ignore[arg-type]
    answer = await edge.client.get("/v1/usage")
    assert answer.status_code == 500
    error = error_of(answer)
    assert error["type"] == "api_error"
    assert answer.headers["x-request-id"] in error["message"]


async def test_health_and_readiness(edge: Edge) -> None:
    anonymous = {"authorization": ""}
    assert (await edge.client.get("/healthz", headers=anonymous)).json() == {"status": "ok"}
    assert (await edge.client.get("/readyz", headers=anonymous)).status_code == 200
    edge.gateway.serving = False
    assert (await edge.client.get("/readyz", headers=anonymous)).json() == {"status": "degraded"}
    edge.gateway.ready = False
    answer = await edge.client.get("/readyz", headers=anonymous)
    assert answer.status_code == 503
    assert error_of(answer)["type"] == "service_unavailable"
    assert (await edge.client.get("/healthz")).status_code == 200


async def test_metrics_count_requests_by_route(edge: Edge) -> None:
    await edge.chat()
    await edge.client.get("/v1/models/canary-in-the-path")
    page = generate_latest().decode()
    assert (await edge.client.get("/metrics")).status_code == 404
    assert 'muhgpt_edge_requests_total{route="/v1/chat/completions",status="200"}' in page
    assert 'muhgpt_edge_requests_total{route="/v1/models/{model}",status="404"}' in page
    assert "canary" not in page


async def test_receipts_are_listed_as_openai_lists_are(start_edge: StartEdge) -> None:
    charge = quota_pb2.Charge(
        hold_id=bytes(range(16)),
        key_id="key_1",
        model="muh-chat",
        state=quota_pb2.Charge.STATE_SETTLED,
        prompt_tokens=10,
        output_tokens=20,
        input_price=1_000_000,
        output_price=3_000_000,
        credits=70,
        estimated=True,
    )
    charge.reserved_at.FromSeconds(1_790_000_000)
    charge.ended_at.FromSeconds(1_790_000_002)
    page = quota_pb2.ListChargesResponse(charges=[charge], next_page_token="more")
    gateway = ScriptedGateway(charges_answer=to_page(page))
    edge = await start_edge(gateway)
    assert (await edge.client.get("/v1/usage/charges?limit=1&after=abc")).json() == {
        "object": "list",
        "data": [
            {
                "id": "000102030405060708090a0b0c0d0e0f",
                "object": "charge",
                "state": "settled",
                "created": 1_790_000_000,
                "ended": 1_790_000_002,
                "key_id": "key_1",
                "model": "muh-chat",
                "prompt_tokens": 10,
                "completion_tokens": 20,
                "input_price": 1_000_000,
                "output_price": 3_000_000,
                "credits": 70,
                "uncollected_credits": 0,
                "refunded_credits": 0,
                "estimated": True,
            }
        ],
        "first_id": "000102030405060708090a0b0c0d0e0f",
        "last_id": "000102030405060708090a0b0c0d0e0f",
        "has_more": True,
    }
    assert gateway.charge_pages == [(1, "abc")]


@pytest.mark.parametrize(("query", "param"), [("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit")])
async def test_a_page_of_receipts_has_a_size(edge: Edge, query: str, param: str) -> None:
    answer = await edge.client.get(f"/v1/usage/charges?{query}")
    assert answer.status_code == 400
    assert error_of(answer)["param"] == param
