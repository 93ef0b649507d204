"""The HTTP client of upstreams over real sockets: connections, their reuse, and what its user may do in between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from services.inference.engines.upstream.http.awaited import AwaitedAnswer, HttpFailed
from services.inference.engines.upstream.http.call import MAX_DRAIN
from services.inference.engines.upstream.http.receiver import HttpRequest
from services.inference.engines.upstream.http.resolver import SocketAddress
from tests.certificates import Authority
from tests.integration.inference.http_receivers import Recorder, asked, http_client, sent
from tests.scripted_site import Script, scripted

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"Content-Length: 5\r\n\r\nhello"
EVIL = OK + b"Content-Length: 4\r\n\r\nevil"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = Script.of(CHUNKED + b"5\r\nhello\r\n", end="hold")


@pytest.fixture(params=[asyncio.DefaultEventLoopPolicy, uvloop.EventLoopPolicy], ids=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    """Services run on uvloop; asyncio's own loop is held to the same."""
    policy: asyncio.AbstractEventLoopPolicy = request.param()
    return policy


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.002)


# What is sent


async def test_a_request_is_sent_as_it_should_be() -> None:
    async with scripted(Script.of(HELLO)) as site, http_client({"X-Key": "sk", "Accept": "*/*"}) as client:
        assert (await asked(client, f"{site.url}/v1/x%20y?a=b c", b"{}")).body == b"hello"
    assert site.requests == [
        b"POST /v1/x%%20y?a=b%%20c HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Key: sk\r\nAccept: */*\r\n"
        b"Content-Length: 2\r\n\r\n{}" % site.port
    ]


async def test_a_request_without_a_body_has_no_length() -> None:
    async with scripted(Script.of(HELLO)) as site, http_client() as client:
        await asked(client, site.url)
    assert site.requests == [b"GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % site.port]


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with scripted(Script.of(HELLO)) as site, http_client() as client:
        assert (await asked(client, site.url)).status == 200


async def test_a_redirect_is_an_answer_like_any_other() -> None:
    redirect = b"HTTP/1.1 307 Go\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with scripted(Script.of(redirect, end="keep")) as site, http_client() as client:
        assert (await asked(client, site.url)).status == 307
    assert len(site.requests) == 1


def test_a_header_that_could_end_its_line_is_refused_and_not_repeated() -> None:
    async def make(value: str) -> None:
        async with http_client({"X-Key": value}):
            pass

    for value in ("sk\r\nX: y", "sk\n", "sk\0"):
        with pytest.raises(ValueError, match="control character") as caught:
            asyncio.run(make(value))
        assert "sk" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "/v1", "ftp://a/", "http://", "http://u:p@a/", "http://a:99999/", "http://ß.de/"])
async def test_a_url_that_leads_to_no_server_raises(url: str) -> None:
    async with http_client() as client:
        with pytest.raises(ValueError):  # noqa: PT011  every kind of it
            client.send(HttpRequest("GET", url), Recorder())


# What comes back


async def test_an_answer_is_pushed_in_order_and_each_read_comes_as_one() -> None:
    async with http_client() as client:
        script = Script.of(CHUNKED + b"1\r\na\r\n1\r\nb\r\n", b"1\r\nc\r\n0\r\nX: y\r\n\r\n", between=0.05)
        async with scripted(script) as site:
            got = await asked(client, site.url)
    assert got.said == ["head", "data", "data", "end"]
    assert (got.status, got.body) == (200, b"abc")
    assert b"x" not in got.headers, "trailers are not headers"


async def test_nothing_is_pushed_before_send_returns() -> None:
    async with scripted(Script.of(HELLO, end="keep")) as site, http_client() as client:
        for _ in range(2):  # on a new connection and on a used one
            recorder = sent(client, site.url)
            assert recorder.said == []
            await recorder.over()
        recorder = sent(client, "http://127.0.0.1:1/")
        assert recorder.said == []
        assert (await recorder.over()).fault == "connect"


async def test_repeated_headers_are_joined_and_names_are_lower_case() -> None:
    answer = OK + b"X-A: 1\r\nx-a:  2 \t\r\nContent-Length: 0\r\n\r\n"
    async with scripted(Script.of(answer)) as site, http_client() as client:
        assert (await asked(client, site.url)).headers == {b"x-a": b"1, 2", b"content-length": b"0"}


async def test_what_came_before_a_failure_is_pushed_before_it() -> None:
    for script, fault in (
        (Script.of(CHUNKED + b"5\r\nhello\r\nzz\r\n", end="hold"), "protocol"),
        (Script.of(CHUNKED + b"5\r\nhello\r\n"), "cut"),
        (Script.of(CHUNKED + b"5\r\nhello\r\n0\r\nX: " + b"a" * 9000 + b"\r\nY", end="hold"), "oversized"),
    ):
        async with scripted(script) as site, http_client() as client:
            got = await asked(client, site.url)
            assert (got.said, got.body, got.fault) == (["head", "data", "error"], b"hello", fault)


# Reuse


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with scripted(Script.of(HELLO, end="keep")) as site, http_client() as client:
        for _ in range(5):
            assert (await asked(client, site.url, b"x")).body == b"hello"
    assert (site.connections, len(site.requests)) == (1, 5)


async def test_without_reuse_each_request_has_its_own() -> None:
    async with scripted(Script.of(HELLO, end="keep")) as site, http_client(reuse=False) as client:
        for _ in range(3):
            await asked(client, site.url)
        await until(lambda: site.open == 0, "closed by us")
    assert site.connections == 3


async def test_concurrent_requests_have_connections_of_their_own_which_stay() -> None:
    async with scripted(Script.of(HELLO, end="keep")) as site, http_client() as client:
        for _ in range(3):
            await asyncio.gather(*(asked(client, site.url) for _ in range(4)))
    assert site.connections == 4


@pytest.mark.parametrize(
    "answer",
    [
        HELLO + b"x",
        HELLO + EVIL,
        OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + EVIL,
        b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n" + EVIL,
    ],
)
async def test_a_connection_is_not_used_again_when_anything_speaks_against_it(answer: bytes) -> None:
    async with scripted(Script.of(answer, end="keep"), Script.of(HELLO)) as site, http_client() as client:
        assert (await asked(client, site.url)).body in (b"hello", b"")
        assert (await asked(client, site.url)).body == b"hello"
    assert site.connections == 2


@pytest.mark.parametrize("between", [0.0, 0.001, 0.05])
async def test_an_answer_that_no_one_asked_for_reaches_no_one(between: float) -> None:
    """Response smuggling: a second answer behind the first, in the same segment, just behind it, or while idle."""
    script = Script.of(HELLO, EVIL, end="keep", between=between)
    async with scripted(script) as site, http_client() as client:
        for _ in range(20):
            assert (await asked(client, site.url)).body == b"hello"
            await asyncio.sleep(between * 2)
    assert site.connections == 20


async def test_bytes_that_lie_unread_in_an_idle_connection_are_found_before_it_is_used() -> None:
    """The loop has no turn between the arrival of an answer to nothing and the next request."""
    speak, spoken = threading.Event(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for answer in (HELLO, HELLO):
            connection, _ = listener.accept()
            connection.recv(4096)
            connection.sendall(answer)
            speak.wait(10)
            connection.sendall(EVIL)
            spoken.set()
            with contextlib.suppress(ConnectionError), connection:
                connection.recv(4096)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with http_client() as client:
        await asked(client, url)
        speak.set()
        assert spoken.wait(10)
        second = sent(client, url)
        assert (await second.over()).body == b"hello"
    thread.join(10)
    listener.close()


async def test_a_connection_that_was_closed_while_idle_costs_no_request() -> None:
    scripts = (Script.of(HELLO, end="keep"), Script.of(HELLO, end="close"))
    async with scripted(*scripts) as site, http_client() as client:
        for _ in range(6):
            assert (await asked(client, site.url, b"x")).failure is None
            await asyncio.sleep(0.01)
    assert len(site.requests) == 6


async def test_a_used_connection_that_closes_without_an_answer_is_tried_once_more_on_a_new_one() -> None:
    scripts = (Script.of(HELLO, end="keep"), Script.of(), Script.of(HELLO))
    async with scripted(*scripts) as site, http_client() as client:
        await asked(client, site.url)
        assert (await asked(client, site.url, b"again")).body == b"hello"
    assert (site.connections, len(site.requests)) == (2, 3)


async def test_it_is_tried_once_only_and_never_on_a_first_connection() -> None:
    async with scripted(Script.of(HELLO, end="keep"), Script.of()) as site, http_client() as client:
        await asked(client, site.url)
        assert (await asked(client, site.url)).fault == "cut"
        assert len(site.requests) == 3
        assert (await asked(client, site.url)).fault == "cut"
        assert len(site.requests) == 4


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_an_answer_that_had_begun_is_not_asked_for_again(end: str) -> None:
    scripts = (Script.of(HELLO, end="keep"), Script.of(b"HTTP/1.1 2", end=end, between=0.05), Script.of(HELLO))
    async with scripted(*scripts) as site, http_client() as client:
        await asked(client, site.url)
        assert (await asked(client, site.url)).fault == "cut"
    assert len(site.requests) == 2


async def test_an_answer_before_the_whole_request_was_sent_ends_the_connection() -> None:
    served, leave = 0, asyncio.Event()

    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Large\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        served += 1
        await leave.wait()
        writer.transport.abort()

    server = await asyncio.start_server(early, "127.0.0.1", 0, limit=1024)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, http_client() as client:
        for count in (1, 2):
            got = await asked(client, url, b"x" * 20_000_000)
            assert (got.status, got.body, got.fault) == (413, b"no", None)
            assert served == count, "the rest of the first request is before no second one"
        leave.set()
    await asyncio.sleep(0.01)


# What its user does


async def test_cancel_closes_at_once_and_silences() -> None:
    async with scripted(ENDLESS) as site, http_client() as client:
        recorder = sent(client, site.url, data=lambda own: own.call.cancel())
        await until(lambda: "data" in recorder.said, "the first bytes")
        await until(lambda: site.open == 0, "the connection is closed")
        recorder.call.cancel()
        recorder.call.leave()
        recorder.call.pause()
        recorder.call.resume()
    assert recorder.said == ["head", "data"]


async def test_cancel_within_the_last_callbacks_keeps_the_connection() -> None:
    async with scripted(Script.of(HELLO, end="keep")) as site, http_client() as client:
        for moment in ("head", "data"):
            recorder = sent(client, site.url, **{moment: lambda own: own.call.cancel()})
            await until(lambda recorder=recorder, moment=moment: moment in recorder.said, moment)
            assert recorder.said[-1] == moment
    assert site.connections == 1, "the answer was complete, so there was nothing to close"


async def test_cancel_while_it_connects_ends_that() -> None:
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    async with http_client(connect_timeout=30) as client:
        recorder = sent(client, f"http://127.0.0.1:{full.getsockname()[1]}")
        recorder.call.cancel()
        await asyncio.sleep(0.05)
    full.close()
    assert recorder.said == []


async def test_leaving_waits_for_an_end_that_comes_and_the_connection_is_used_again() -> None:
    script = Script.of(CHUNKED + b"5\r\nhello\r\n", b"0\r\n\r\n", end="keep")
    async with scripted(script) as site, http_client() as client:
        for _ in range(3):
            recorder = sent(client, site.url, data=lambda own: own.call.leave())
            await until(lambda recorder=recorder: "data" in recorder.said, "the first bytes")
            await asyncio.sleep(0.03)
            assert recorder.said == ["head", "data"]
    assert site.connections == 1


@pytest.mark.parametrize("rest", [(), (b"%x\r\n" % (MAX_DRAIN * 4) + b"x" * MAX_DRAIN * 2,)])
async def test_leaving_closes_what_does_not_end(rest: tuple[bytes, ...]) -> None:
    script = Script.of(CHUNKED + b"5\r\nhello\r\n", *rest, end="hold", between=0.01)
    async with scripted(script) as site, http_client() as client:
        recorder = sent(client, site.url, data=lambda own: own.call.leave())
        await until(lambda: "data" in recorder.said, "the first bytes")
        await until(lambda: site.open == 0, "the connection is closed")
    assert recorder.said == ["head", "data"]


async def test_pausing_holds_the_upstream_back() -> None:
    whole = 8_000_000
    head = OK + b"Content-Length: %d\r\n\r\n" % whole
    async with scripted(Script.of(head, *[b"x" * 100_000] * (whole // 100_000))) as site, http_client() as client:
        recorder = sent(client, site.url, data=lambda own: own.call.pause() if len(own.said) == 2 else None)
        await until(lambda: "data" in recorder.said, "the first bytes")
        await asyncio.sleep(0.2)
        held = len(recorder.body)
        assert held < 1_000_000
        assert len(recorder.said) <= 3
        recorder.call.resume()
        assert len((await recorder.over()).body) == whole


async def test_an_awaited_answer_holds_the_upstream_back_until_it_is_read() -> None:
    whole = 8_000_000
    head = OK + b"Content-Length: %d\r\n\r\n" % whole
    async with scripted(Script.of(head, *[b"x" * 100_000] * (whole // 100_000))) as site, http_client() as client:
        answer, sizes = AwaitedAnswer(), []
        answer.call = client.send(HttpRequest("GET", site.url), answer)
        assert await answer.head() == 200
        await asyncio.sleep(0.2)
        while data := await answer.read():
            sizes.append(len(data))
    assert sum(sizes) == whole
    assert max(sizes) < 2_000_000


async def test_an_awaited_answer_fails_after_what_came_before() -> None:
    async with scripted(Script.of(CHUNKED + b"5\r\nhello\r\n")) as site, http_client() as client:
        answer = AwaitedAnswer()
        answer.call = client.send(HttpRequest("GET", site.url), answer)
        await asyncio.sleep(0.1)
        assert (await answer.head(), await answer.read()) == (200, b"hello")
        with pytest.raises(HttpFailed):
            await answer.read()


async def test_a_paused_connection_is_read_again_for_the_next_request() -> None:
    async with scripted(Script.of(HELLO, end="keep")) as site, http_client() as client:
        recorder = sent(client, site.url, head=lambda own: own.call.pause())
        await recorder.over()
        assert (await asked(client, site.url)).body == b"hello"
        early = sent(client, site.url)
        early.call.pause()
        await asyncio.sleep(0.05)
        assert early.said == []
        early.call.resume()
        assert (await early.over()).body == b"hello"
    assert site.connections == 1


@pytest.mark.parametrize("moment", ["head", "data", "end"])
async def test_a_receiver_that_raises_ends_its_own_call_alone(moment: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Recorder) -> None:
        raise RuntimeError("canary of a receiver")

    script = Script.of(CHUNKED + b"5\r\nhello\r\n", b"0\r\n\r\n", end="keep", between=0.05)
    async with scripted(script) as site, http_client() as client:
        other = sent(client, site.url)
        broken = sent(client, site.url, **{moment: fail})
        assert (await other.over()).body == b"hello"
        await broken.over()
        assert broken.said[-1] == ("end" if moment == "end" else "error")
        assert (await asked(client, site.url)).body == b"hello"
    assert "upstream_receiver_failed" in capsys.readouterr().out


async def test_a_request_may_be_sent_from_the_end_of_another() -> None:
    async with scripted(Script.of(HELLO, end="keep")) as site, http_client() as client:
        second: list[Recorder] = []
        first = sent(client, site.url, end=lambda _: second.append(sent(client, site.url)))
        await first.over()
        assert (await second[0].over()).body == b"hello"
    assert site.connections == 1


async def test_closing_the_client_fails_what_is_under_way() -> None:
    async with scripted(ENDLESS) as site:
        async with http_client() as client:
            running = sent(client, site.url)
            await until(lambda: "data" in running.said, "the first bytes")
            connecting = sent(client, site.url)
        assert (running.fault, connecting.fault) == ("cut", "cut")
        assert (await asked(client, site.url)).fault == "connect", "and so does what comes later"
        await until(lambda: site.open == 0, "all are closed")


# Connecting


async def test_what_cannot_be_reached_is_unreachable_in_time() -> None:
    async def never(host: str, port: int) -> list[SocketAddress]:
        await asyncio.Event().wait()
        return []

    async def unknown(host: str, port: int) -> list[SocketAddress]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async with http_client(lookup=never, connect_timeout=0.05) as client:
        assert (await asked(client, "http://a.example/")).fault == "connect"
    async with http_client(lookup=unknown) as client:
        got = await asked(client, "http://a.example/")
        assert (got.fault, got.failure and got.failure.detail) == ("connect", "gaierror")
        assert (await asked(client, "http://127.1/")).fault == "connect"


async def test_the_next_address_is_tried_when_one_fails_or_is_late() -> None:
    lost = socket.create_server(("127.0.0.1", 0))
    lost_port = lost.getsockname()[1]
    lost.close()
    async with scripted(Script.of(HELLO)) as site:

        async def lookup(host: str, port: int) -> list[SocketAddress]:
            addresses = [("127.0.0.1", lost_port), ("127.0.0.1", site.port)]
            return [SocketAddress(socket.AF_INET, address) for address in addresses]

        async with http_client(lookup=lookup) as client:
            for _ in range(4):  # whichever is the first
                assert (await asked(client, f"http://a.example:{site.port}/")).body == b"hello"


async def test_names_are_looked_up_once_for_many_and_again_after_a_while() -> None:
    lookups = 0
    async with scripted(Script.of(HELLO)) as site:

        async def lookup(host: str, port: int) -> list[SocketAddress]:
            nonlocal lookups
            lookups += 1
            await asyncio.sleep(0.02)
            return [SocketAddress(socket.AF_INET, ("127.0.0.1", port))]

        async with http_client(lookup=lookup) as client:
            url = f"http://a.example:{site.port}/"
            await asyncio.gather(*(asked(client, url) for _ in range(8)))
            await asked(client, url)
    assert lookups == 1
    assert b"\r\nHost: a.example:%d\r\n" % site.port in site.requests[0]


# TLS


def server_tls(authority: Authority, folder: Path, *names: str) -> ssl.SSLContext:
    issued = authority.issue(*names)
    for name, data in issued.files().items():
        (folder / name).write_bytes(data)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


async def local(host: str, port: int) -> list[SocketAddress]:
    return [SocketAddress(socket.AF_INET, ("127.0.0.1", port))]


async def test_tls_serves_and_reuses_what_the_authority_signed_for_that_name(tmp_path: Path) -> None:
    authority = Authority()
    trust = ssl.create_default_context(cadata=authority.pem.decode())
    tls = server_tls(authority, tmp_path, "a.example")
    async with scripted(Script.of(HELLO, end="keep"), tls=tls) as site, http_client(tls=trust, lookup=local) as client:
        for host in ("a.example", "A.example"):
            for _ in range(2):
                assert (await asked(client, f"https://{host}:{site.port}/", b"x" * 300_000)).body == b"hello"
        assert site.connections == 1
        got = await asked(client, f"https://b.example:{site.port}/")
        assert (got.fault, got.failure and got.failure.detail) == ("connect", "SSLCertVerificationError")


async def test_tls_refuses_a_certificate_that_the_system_does_not_trust(tmp_path: Path) -> None:
    tls = server_tls(Authority(), tmp_path, "a.example")
    async with scripted(Script.of(HELLO), tls=tls) as site, http_client(lookup=local) as client:
        assert (await asked(client, f"https://a.example:{site.port}/")).fault == "connect"
        assert site.requests == []


async def test_a_server_without_tls_is_unreachable_by_https() -> None:
    async with scripted(Script.of(HELLO)) as site, http_client(lookup=local) as client:
        assert (await asked(client, f"https://a.example:{site.port}/")).fault == "connect"
