"""The guarded fetcher and a real server on loopback: what it refuses, where it never goes, and how long it waits."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from services.inference.domain.addresses import AllowList
from services.inference.domain.errors import InvalidImageUrl
from services.inference.images.fetcher import HEADERS, FetchLimits, ImageFetcher

PARAM = "messages[0].content[1].image_url.url"
FILE = b"\x89PNG and so on"


class Server:
    """Says what it is told to, and remembers what it was asked."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[web.Request] = []
        self.left = asyncio.Event()  # a client went before its answer ended
        self.answers: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {}

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def redirect(self, path: str, to: str, status: int = 302) -> None:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": to}, body=b"moved")

        self.answers[path] = answer

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        try:
            if request.path in self.answers:
                return await self.answers[request.path](request)
            return web.Response(body=FILE, content_type="image/png", headers={"Set-Cookie": "id=1"})
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@asynccontextmanager
async def serving(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server, app = Server(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=tls)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


class Names:
    """A resolver in whose names the answers change from one question to the next; the last stays."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("_", "."): given for name, given in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host not in self.answers:
            raise OSError("no such name")
        given = self.answers[host]
        return given.pop(0) if len(given) > 1 else given[0]


@asynccontextmanager
async def fetching(
    allowed: str = "127.0.0.1", names: Names | None = None, **limits: Any
) -> AsyncIterator[ImageFetcher]:
    fetcher = ImageFetcher(FetchLimits(allowed=AllowList.parse(allowed), **limits), names)
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def refusal(fetcher: ImageFetcher, url: str) -> str:
    with pytest.raises(InvalidImageUrl) as caught:
        await fetcher.fetch(url, PARAM)
    assert caught.value.param == PARAM
    assert caught.value.message.startswith(f"{PARAM} ")
    return caught.value.message


async def test_a_file_is_downloaded_and_the_server_learns_who_asks_and_nothing_else(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with fetching() as fetcher:
        for _ in range(2):
            assert await fetcher.fetch(server.url("/a?b=c#d"), PARAM) == FILE
    for request in server.requests:
        assert request.path_qs == "/a?b=c"
        assert set(request.headers) == {*("Host", "Connection"), *HEADERS}, "no cookie came back"
        assert "MUHGPT" in request.headers["User-Agent"]


async def test_a_name_leads_to_its_checked_address_and_stays_the_host(server: Server) -> None:
    names = Names(pictures_example=[["127.0.0.1"]])
    async with fetching(names=names, ports=frozenset({server.port})) as fetcher:
        assert await fetcher.fetch(server.url("/", "Pictures.Example"), PARAM) == FILE
    assert server.requests[0].headers["Host"] == f"pictures.example:{server.port}"
    assert names.asked == ["pictures.example"]


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "127.0.0.2",
            "2130706433",
            "0177.0.0.1",
            "0x7f.1",
            "0x7f000001",
            "127.1",
            "127.0.0.1.",
            "0.0.0.0",
        ),
        *("0", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::]", "[64:ff9b::7f00:1]"),
        *("[2002:7f00:1::]", "%31%32%37.0.0.1", "１２７.0.0.1", "127。0。0。1", "169.254.169.254", "10.0.0.1"),
    ],
)
async def test_no_spelling_of_an_inner_address_is_connected_to(host: str) -> None:
    async with serving("0.0.0.0") as server, fetching("", ports=frozenset({server.port})) as fetcher:
        message = await refusal(fetcher, server.url("/", host))
        assert not server.requests
        assert "127" not in message.removeprefix(PARAM)


@pytest.mark.parametrize(
    "addresses",
    [["10.0.0.1"], ["127.0.0.1", "169.254.169.254"], ["127.0.0.1", "fd00::1"], ["::ffff:10.0.0.1"], []],
)
async def test_a_name_is_refused_when_any_of_its_addresses_is_an_inner_one(
    server: Server, addresses: list[str]
) -> None:
    names = Names(inner_example=[addresses])
    async with fetching(names=names, ports=frozenset({server.port})) as fetcher:
        told = await refusal(fetcher, server.url("/", "inner.example"))
        assert told == await refusal(fetcher, server.url("/", "unknown.example")), "it must not tell which names exist"
    assert not server.requests


async def test_a_name_that_changes_after_the_check_is_not_asked_again(server: Server) -> None:
    names = Names(changing_example=[["127.0.0.1"], ["10.0.0.1"]])
    async with fetching(names=names, ports=frozenset({server.port})) as fetcher:
        assert await fetcher.fetch(server.url("/", "changing.example"), PARAM) == FILE
        assert names.asked == ["changing.example"], "the connection goes to the address that was checked"
        await refusal(fetcher, server.url("/", "changing.example"))
    assert len(server.requests) == 1


async def test_a_name_that_the_operator_trusts_may_lead_inside(server: Server) -> None:
    names = Names(store_internal=[["127.0.0.1"]], other_internal=[["127.0.0.1"]])
    async with fetching("store.internal", names) as fetcher:
        assert await fetcher.fetch(server.url("/", "store.internal"), PARAM) == FILE
        server.redirect("/away", server.url("/", "other.internal"))
        await refusal(fetcher, server.url("/away", "store.internal"))
    assert server.paths() == ["/", "/away"]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("ftp://example.com/a.png", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("gopher://127.0.0.1/", "http or https"),
        ("http:///a.png", "valid URL|http or https"),
        ("http://", "valid URL|http or https"),
        ("http://[::1/", "valid URL"),
        ("http://a:99999/", "valid URL"),
        ("http://.[a@", "valid URL"),
        ("http://me:secret@example.com/", "user name"),
        ("http://me@example.com/", "user name"),
        ("http://example.com:22/", "ports 80, 443"),
        ("http://example.com:8080/", "ports 80, 443"),
        ("http://example.com/" + "a" * 9000, "8,192 characters"),
    ],
)
async def test_a_url_that_is_not_allowed_says_why(url: str, problem: str) -> None:
    async with fetching(names=Names()) as fetcher:
        message = await refusal(fetcher, url)
    assert any(part in message for part in problem.split("|"))
    assert "secret" not in message


@given(st.lists(st.sampled_from(["http:", "https:", "//", *"abc.:/@[]%?#\\ \n\t\x00é中０１-_0x17\ud800"]), max_size=25))
async def test_no_text_makes_the_fetcher_fail_in_another_way(pieces: list[str]) -> None:
    async with fetching("", Names()) as fetcher:
        await refusal(fetcher, "".join(pieces))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_three_times(server: Server, status: int) -> None:
    server.redirect("/1", "/2", status)
    server.redirect("/2", server.url("/3"), status)
    server.redirect("/3", "//127.0.0.1:" + str(server.port) + "/4", status)
    async with fetching() as fetcher:
        assert await fetcher.fetch(server.url("/1"), PARAM) == FILE
        server.redirect("/0", "/1", status)
        assert "more than 3 times" in await refusal(fetcher, server.url("/0"))
    assert server.paths() == ["/1", "/2", "/3", "/4", "/0", "/1", "/2", "/3"]


@pytest.mark.parametrize(
    "to",
    [
        *("http://127.0.0.2:{port}/", "http://2130706434:{port}/", "http://[::ffff:127.0.0.2]:{port}/"),
        *("http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "ftp://127.0.0.1/", "http://127.0.0.3:22/"),
        *("http://me:you@127.0.0.1:{port}/", "http://inner.example:{port}/", "http://[", "data:image/png;base64,AA=="),
    ],
)
async def test_a_redirect_is_checked_like_the_first_url(to: str) -> None:
    names = Names(inner_example=[["127.0.0.2"]])
    async with serving("0.0.0.0") as server:
        async with fetching(names=names, ports=frozenset({80, server.port})) as fetcher:
            server.redirect("/away", to.format(port=server.port))
            await refusal(fetcher, server.url("/away"))
        assert server.paths() == ["/away"]


async def test_a_file_that_says_it_is_too_large_is_not_read(server: Server) -> None:
    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "5000000"})
        await response.prepare(request)
        await asyncio.Event().wait()
        return response

    server.answers["/large"] = large
    async with fetching(file_bytes=1000) as fetcher:
        assert "larger than 1,000 bytes" in await refusal(fetcher, server.url("/large"))
        await asyncio.wait_for(server.left.wait(), 5)


async def test_an_endless_file_is_cut_at_the_bound(server: Server) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)
            sent += 10_000

    server.answers["/endless"] = endless
    async with fetching(file_bytes=100_000) as fetcher:
        assert "larger than 100,000 bytes" in await refusal(fetcher, server.url("/endless"))
        await asyncio.wait_for(server.left.wait(), 5)
    assert sent < 50_000_000, "what the sockets' buffers take, and no more"


async def test_a_server_that_drips_is_left_when_the_time_is_over(server: Server) -> None:
    async def dripping(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.01)

    async def silent(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    server.answers |= {"/dripping": dripping, "/silent": silent}
    async with fetching(timeout=0.2) as fetcher:
        for path in server.answers:
            assert "within 0.2 s" in await refusal(fetcher, server.url(path))
            await asyncio.wait_for(server.left.wait(), 5)
            server.left.clear()


async def test_a_name_server_that_does_not_answer_is_left_when_the_time_is_over() -> None:
    async def never(host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    fetcher = ImageFetcher(FetchLimits(timeout=0.05), never)
    assert "within 0.05 s" in await refusal(fetcher, "http://example.com/")
    await fetcher.close()


async def test_redirects_share_one_time(server: Server) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.09)
        return web.Response(status=302, headers={"Location": "/slow"})

    server.answers["/slow"] = slow
    async with fetching(timeout=0.2) as fetcher:
        assert "within 0.2 s" in await refusal(fetcher, server.url("/slow"))


@pytest.mark.parametrize("status", [204, 206, 401, 404, 500])
async def test_another_status_is_told(server: Server, status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"WWW-Authenticate": "Basic"})

    server.answers["/"] = answer
    async with fetching() as fetcher:
        assert f"status was {status}" in await refusal(fetcher, server.url("/"))
    assert len(server.requests) == 1


async def test_a_compressed_answer_is_not_unpacked(server: Server) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"\x00" * 1_000_000), headers={"Content-Encoding": "gzip"})

    server.answers["/"] = answer
    async with fetching() as fetcher:
        assert "compressed" in await refusal(fetcher, server.url("/"))


async def test_a_server_that_is_not_there_or_speaks_something_else_is_one_error() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    async with fetching() as fetcher:
        spoke = await refusal(fetcher, f"http://127.0.0.1:{port}/")
        other.close()
        await other.wait_closed()
        assert await refusal(fetcher, f"http://127.0.0.1:{port}/") == spoke
    assert "ESMTP" not in spoke


async def test_downloads_are_bounded_in_number(server: Server) -> None:
    running = most = 0
    go = asyncio.Event()

    async def counted(request: web.Request) -> web.Response:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            go.set()
        await go.wait()
        running -= 1
        return web.Response(body=FILE)

    server.answers["/"] = counted
    async with fetching(at_once=3) as fetcher:
        files = await asyncio.gather(*(fetcher.fetch(server.url("/"), PARAM) for _ in range(9)))
    assert files == [FILE] * 9
    assert most == 3


async def test_a_download_that_is_cancelled_leaves_its_server(server: Server) -> None:
    arrived = asyncio.Event()

    async def silent(request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    server.answers["/"] = silent
    async with fetching() as fetcher:
        task = asyncio.create_task(fetcher.fetch(server.url("/"), PARAM))
        await asyncio.wait_for(arrived.wait(), 5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(server.left.wait(), 5)


@pytest.fixture
def own_certificate(tmp_path: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that it signed itself."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=pictures.example",
    ]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return tls


async def test_a_certificate_that_nobody_trusts_is_refused(own_certificate: ssl.SSLContext) -> None:
    names = Names(pictures_example=[["127.0.0.1"]])
    async with (
        serving(tls=own_certificate) as server,
        fetching(names=names, ports=frozenset({server.port})) as fetcher,
    ):
        for host in ("127.0.0.1", "pictures.example"):
            url = server.url("/", host).replace("http://", "https://")
            assert "could not be downloaded" in await refusal(fetcher, url)
        assert not server.requests
