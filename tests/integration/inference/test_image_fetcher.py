"""Where the guarded fetcher goes and where it never goes, with a real server on loopback."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.images.fetcher import HEADERS
from tests.integration.inference.image_site import FILE, PARAM, Names, Server, fetching, refusal, serving


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as running:
        yield running


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


@pytest.mark.parametrize("host", ["a" * 64, "a" * 5000 + ".com", "example..com"])
async def test_a_name_that_dns_could_not_have_is_refused_as_one_that_is_not_there(host: str) -> None:
    async with fetching("", None) as fetcher:
        assert "could not be downloaded" in await refusal(fetcher, f"http://{host}/a.png")


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
