"""Uploads, connections and wrong keys are bounded for the process, an account and an address (G13)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import psutil
import pytest

from services.edge.http.limits import LimitNumbers
from services.edge.http.protocol import Bounds
from services.edge.http.senders import Sender
from services.edge.peers.errors import KeyRevoked, Service, Unavailable
from tests.integration.edge.wire import CHAT, HELLO, assert_shape, read_all, read_answer
from tests.worlds.in_process.http_edge import Edge, StartEdge
from tests.worlds.in_process.scripted_gateway import KEY, text_answer

MIB = 1024 * 1024
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def long_body(size: int) -> bytes:
    """A request whose body has this many bytes."""
    return json.dumps({"messages": [{"role": "user", "content": "x" * (size - 52)}]}).encode()


def upload(body: bytes, *, account: str = "", missing: int = 1) -> bytes:
    """A request that lacks its last bytes."""
    key = f"{KEY}_{account}" if account else KEY
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: len(body) - missing]


async def until(edge: Edge, held: int) -> None:
    """Until the edge holds that many bytes of bodies."""
    async with asyncio.timeout(10):
        while edge.budget.bodies.total != held:  # noqa: ASYNC110  (bytes arrive when they do)
            await asyncio.sleep(0.005)


# Uploads


async def test_an_account_holds_no_more_than_its_share_however_its_uploads_stall(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(held_body_bytes_per_account=4 * MIB))
    body = long_body(MIB)
    stalled = [await edge.raw(upload(body)) for _ in range(4)]
    await until(edge, 4 * (len(body) - 1))
    reader, writer = await edge.raw(upload(body))
    status, headers, answer = await read_answer(reader)
    assert (status, answer["error"]["code"]) == (429, "too_many_uploads")
    assert "retry-after" in headers
    assert_shape(headers, answer)
    other, other_writer = await edge.raw(upload(body, account="acct_2", missing=0))
    assert (await read_answer(other))[0] == 200
    stalled[0][1].write(body[-1:])
    assert (await read_answer(stalled[0][0]))[0] == 200
    for _, each in [*stalled, (other, other_writer), (reader, writer)]:
        each.close()
    await until(edge, 0)


async def test_stalled_uploads_are_open_answers(start_edge: StartEdge) -> None:
    edge = await start_edge()
    stalled = [await edge.raw(upload(HELLO)) for _ in range(10)]
    async with asyncio.timeout(5):
        while len(edge.gateway.uploads) < 10:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    reader, writer = await edge.raw(upload(HELLO))
    status, _, answer = await read_answer(reader)
    assert (status, answer["error"]["code"]) == (429, "too_many_streams")
    for _, each in [*stalled, (reader, writer)]:
        each.close()
    async with asyncio.timeout(5):
        while edge.gateway.uploads:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert (await edge.chat()).status_code == 200


async def test_when_the_process_is_full_stalled_uploads_give_way_and_others_are_served(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(held_body_bytes=4 * MIB, held_body_bytes_per_account=3 * MIB))
    body = long_body(MIB)
    stalled = [await edge.raw(upload(body)) for _ in range(2)]
    await until(edge, 2 * (len(body) - 1))
    stalled += [await edge.raw(upload(body, account="acct_2"))]
    await until(edge, 3 * (len(body) - 1))
    for _ in range(3):
        reader, writer = await edge.raw(upload(long_body(MIB + MIB // 2), account="acct_3", missing=0))
        assert (await read_answer(reader))[0] == 200
        writer.close()
    status, headers, answer = await read_answer(stalled[0][0])
    assert (status, answer["error"]["code"]) == (503, "server_overloaded")
    assert headers["connection"] == "close"
    assert edge.budget.bodies.total == 2 * (len(body) - 1), "the other two were left alone"
    for _, each in stalled:
        each.close()


async def test_an_upload_ends_with_its_key(start_edge: StartEdge) -> None:
    edge = await start_edge()
    reader, writer = await edge.raw(upload(HELLO))
    async with asyncio.timeout(5):
        while not edge.gateway.uploads:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    edge.gateway.uploads[0](KeyRevoked())
    status, headers, answer = await read_answer(reader)
    assert (status, answer["error"]["code"], headers["connection"]) == (401, "key_revoked", "close")
    writer.close()


async def test_the_bytes_of_a_running_answer_are_let_go(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(held_body_bytes_per_account=8 * MIB))
    process, release, body = psutil.Process(), asyncio.Event(), long_body(MIB - 4096)

    async def wait() -> None:
        await release.wait()

    edge.gateway.steps = [*text_answer("a")[:1], wait, *text_answer("b")[1:]]
    edge.gateway.opened = Forgetful()
    before = process.memory_info().rss
    running = []
    for _ in range(60):
        reader, writer = await edge.raw(upload(body, missing=0))
        running.append((reader, writer))
        async with asyncio.timeout(5):
            while len(edge.gateway.answers) < len(running):  # noqa: ASYNC110
                await asyncio.sleep(0.002)
    grown = process.memory_info().rss - before
    assert grown < 40 * MIB
    await until(edge, 0)
    release.set()
    for _, writer in running:
        writer.close()


class Forgetful(list):  # type: ignore[type-arg]
    """Keeps nothing of what was asked."""

    def append(self, item: object) -> None:
        return None


# Refused work


async def test_an_account_that_spent_too_much_on_refused_requests_is_refused_before_its_body_is_read(
    edge: Edge,
) -> None:
    edge.budget.spending.charge(Sender.account("acct_1"), 2.5)
    reader, writer = await edge.raw(upload(HELLO, missing=5))
    status, headers, answer = await read_answer(reader)
    assert (status, answer["error"]["code"], headers["connection"]) == (429, "refused_too_often", "close")
    assert 60 <= int(headers["retry-after"]) <= 120
    assert_shape(headers, answer)
    assert (await edge.client.get("/v1/models")).status_code == 200
    reader, _ = await edge.raw(upload(HELLO, account="acct_2", missing=0))
    assert (await read_answer(reader))[0] == 200
    writer.close()


# Wrong keys

WRONG = ["Bearer mghp_wrong", "Basic eDp5", "Bearer", ""]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_address_gets_sixty_401s_and_known_keys_are_served_all_the_while(
    start_edge: StartEdge, method: str
) -> None:
    edge = await start_edge(numbers=LimitNumbers(unauthorized_per_minute=60))
    path = CHAT if method == "POST" else "/v1/models"
    statuses = []
    for number in range(100):
        headers = {"authorization": WRONG[number % len(WRONG)]}
        statuses.append((await edge.client.request(method, path, headers=headers)).status_code)
    assert statuses[:60] == [401] * 60
    assert statuses.count(429) >= 38
    answer = await edge.client.request(method, path, headers={"authorization": "Bearer mghp_wrong"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "refused_too_often")
    assert int(answer.headers["retry-after"]) >= 1
    assert_shape(dict(answer.headers), answer.json())
    assert (await edge.chat()).status_code == 200


async def test_many_connections_at_once_get_no_more_401s_than_one(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(unauthorized_per_minute=30))
    async with httpx.AsyncClient(base_url=edge.url, timeout=10, limits=httpx.Limits(max_connections=64)) as client:
        headers = {"authorization": "Bearer mghp_wrong"}
        answers = await asyncio.gather(*(client.get("/v1/models", headers=headers) for _ in range(200)))
    assert sum(answer.status_code == 401 for answer in answers) <= 33
    assert {answer.status_code for answer in answers} == {401, 429}
    assert edge.gateway.most_at_once <= 30


async def test_a_new_key_is_served_beside_a_flood_of_wrong_ones_from_its_own_address(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(unauthorized_per_minute=5))
    flooding = True

    async def flood(client: httpx.AsyncClient) -> None:
        while flooding:
            answer = await client.get("/v1/models", headers={"authorization": "Bearer mghp_wrong"})
            assert answer.status_code in (401, 429)

    async with httpx.AsyncClient(base_url=edge.url, timeout=10, limits=httpx.Limits(max_connections=64)) as client:
        floods = [asyncio.create_task(flood(client)) for _ in range(64)]
        await edge.gateway.over(40)
        edge.gateway.most_at_once = 0
        for number in range(3):
            answer = await edge.client.get("/v1/models", headers={"authorization": f"Bearer {KEY}_acct_{number}"})
            assert answer.status_code == 200
        assert edge.gateway.most_at_once == 1, "of the address that had too many"
        flooding = False
        await asyncio.gather(*floods)


async def test_more_look_ups_than_may_wait_are_refused_at_once(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(unauthorized_per_minute=1))
    edge.gateway.look_up_gate = gate = asyncio.Event()
    data = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer mghp_wrong\r\n\r\n"
    async with connections(edge, 150, first=data) as waiting:
        answered = [asyncio.create_task(read_answer(reader)) for reader, _ in waiting]
        done, _ = await asyncio.wait(answered, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert done
        gate.set()
        statuses = [(await task)[0] for task in answered]
        assert statuses.count(401) == 1
        assert statuses.count(429) == 149


async def test_a_proxy_that_is_trusted_names_the_address_that_is_counted(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(unauthorized_per_minute=5, trusted_proxies="127.0.0.0/8"))

    async def wrong(source: str) -> int:
        headers = {"authorization": "Bearer mghp_wrong", "x-forwarded-for": f"203.0.113.77, {source}"}
        return (await edge.client.get("/v1/models", headers=headers)).status_code

    assert [await wrong("198.51.100.1") for _ in range(7)] == [401] * 5 + [429] * 2
    assert await wrong("198.51.100.2") == 401


async def test_without_a_trusted_proxy_nobody_escapes_by_a_header(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(unauthorized_per_minute=5))
    statuses = []
    for number in range(8):
        headers = {"authorization": "Bearer mghp_wrong", "x-forwarded-for": f"198.51.100.{number}"}
        statuses.append((await edge.client.get("/v1/models", headers=headers)).status_code)
    assert statuses == [401] * 5 + [429] * 3


async def test_an_auth_that_cannot_be_asked_costs_the_client_nothing(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(unauthorized_per_minute=5))
    edge.gateway.authenticate_error = Unavailable(Service.AUTH)
    statuses = [(await edge.client.get("/v1/models")).status_code for _ in range(20)]
    assert statuses == [503] * 20


# Connections


@asynccontextmanager
async def connections(
    edge: Edge, count: int, *, first: bytes = b"", source: str = "127.0.0.1"
) -> AsyncIterator[list[Connection]]:
    """Open connections that have sent this."""
    host, _, port = edge.address.rpartition(":")
    opened: list[Connection] = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
            opened.append((reader, writer))
            writer.write(first)
        yield opened
    finally:
        for _, writer in opened:
            writer.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server has closed the connection."""
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(0.05):
            return await reader.read(1) == b""
        return True
    return False


PHASES = {
    "idle": b"",
    "in a header": b"POST /v1/chat/completions HTTP/1.1\r\nHost:",
    "after a refusal": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
    "between requests": b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("limit", ["of the process", "of the address"])
async def test_waiting_connections_keep_nobody_out(start_edge: StartEdge, phase: str, limit: str) -> None:
    own = limit == "of the address"
    numbers = LimitNumbers(connections=20 if not own else 100, connections_per_source=8 if own else 50)
    edge = await start_edge(numbers=numbers)
    async with connections(edge, 60, first=PHASES[phase]):
        for source in ("127.0.0.1", "127.0.0.2"):
            async with connections(edge, 1, first=b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", source=source) as [
                client
            ]:
                assert (await read_answer(client[0]))[0] == 200
        assert len(edge.budget.connections) <= (10 if own else 20)


async def test_of_two_addresses_the_one_with_more_connections_makes_room(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(connections=20, connections_per_source=100))
    async with connections(edge, 3, source="127.0.0.2", first=PHASES["between requests"]) as modest:
        for reader, _ in modest:
            assert (await read_answer(reader))[0] == 200
        async with connections(edge, 100, source="127.0.0.3"):
            for reader, writer in modest:
                writer.write(PHASES["between requests"])
                assert (await read_answer(reader))[0] == 200


async def test_a_connection_with_an_answer_running_is_never_closed_for_another(start_edge: StartEdge) -> None:
    edge = await start_edge(numbers=LimitNumbers(connections=3, connections_per_source=3))
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    edge.gateway.before_first_token = wait
    async with connections(edge, 3, first=upload(HELLO, missing=0)) as running:
        async with asyncio.timeout(5):
            while len(edge.gateway.opened) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        async with connections(edge, 1) as [refused]:
            status, headers, answer = await read_answer(refused[0])
            assert (status, answer["error"]["code"]) == (429, "too_many_connections")
            assert "retry-after" in headers
            assert_shape(headers, answer)
            assert await read_all(refused[0]) == b""
        async with connections(edge, 1, source="127.0.0.2") as [refused]:
            status, headers, answer = await read_answer(refused[0])
            assert (status, answer["error"]["code"]) == (503, "server_overloaded")
        release.set()
        for reader, _ in running:
            assert (await read_answer(reader))[0] == 200


async def test_a_flood_of_connections_beyond_the_bound_leaves_nothing_behind(start_edge: StartEdge) -> None:
    edge = await start_edge(
        bounds=Bounds(header_timeout=5), numbers=LimitNumbers(connections=16, connections_per_source=16)
    )
    process = psutil.Process()
    before = process.num_fds()
    flood = []
    for _ in range(300):
        client = socket.socket()
        client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.connect(edge.server.config.host and ("127.0.0.1", int(edge.address.rpartition(":")[2])))
        flood.append(client)
    assert (await edge.client.get("/healthz")).status_code == 200
    assert len(edge.budget.connections) <= 16
    for client in flood:
        client.close()
    async with asyncio.timeout(5):
        while process.num_fds() > before + 8:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
