"""The HTTP client of upstreams beside aiohttp's: the same bytes from a server mean the same to both.

Where they do not, the difference is listed in DIFFERENCES with its reason.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http_answers import ANSWERS, spoilt
from tests.integration.inference.http_receivers import asked, http_client
from tests.scripted_site import Script, scripted

EXAMPLES = int(os.environ.get("MUHGPT_TEST_EXAMPLES", "150"))
TIMEOUT = 20.0
ORACLE_TIMEOUT = 2.0
OK = b"HTTP/1.1 200 OK\r\n"
FIVE = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HELLO = FIVE + b"\r\nhello"


class Outcome(NamedTuple):
    """What a client made of an answer. `failed`: connect; answer: none that could be used; hung: none at all.

    aiohttp 3.14 hangs at some answers whose trailers come in two reads, and knows nothing of the connection's end then.
    """

    failed: str = ""
    status: int = 0
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


FAILED = Outcome("answer")
HUNG = Outcome("hung")


def whole(body: bytes = b"hello", status: int = 200) -> Outcome:
    return Outcome("", status, (), body)


async def ours(urls: list[str]) -> list[Outcome]:
    outcomes = []
    async with http_client() as client:
        for url in urls:
            got = await asked(client, url)
            if got.failure is None:
                outcomes.append(Outcome("", got.status, tuple(sorted(got.headers.items())), got.body))
            else:
                outcomes.append(Outcome("connect" if got.fault == "connect" else "answer"))
    return outcomes


@asynccontextmanager
async def oracle() -> AsyncIterator[aiohttp.ClientSession]:
    """As upstreams were asked with it."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=15)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:
        yield session


async def theirs(urls: list[str]) -> list[Outcome]:
    outcomes = []
    async with oracle() as session:
        for url in urls:
            try:
                async with asyncio.timeout(ORACLE_TIMEOUT):
                    outcomes.append(await _asked(session, url))
            except TimeoutError:
                return [*outcomes, HUNG]
            except aiohttp.ClientConnectorError:
                outcomes.append(Outcome("connect"))
            except (aiohttp.ClientError, OSError):
                outcomes.append(FAILED)
    return outcomes


async def _asked(session: aiohttp.ClientSession, url: str) -> Outcome:
    async with session.get(url, allow_redirects=False) as response:
        body, headers = await response.read(), dict[bytes, bytes]()
        for name, value in response.raw_headers:
            held = headers.get(name.lower())
            headers[name.lower()] = value if held is None else held + b", " + value
        return Outcome("", response.status, tuple(sorted(headers.items())), body)


async def both(*scripts: Script) -> tuple[list[Outcome], list[Outcome]]:
    """Each client asks a server of its own once for each script; as far as the oracle comes."""
    async with asyncio.timeout(TIMEOUT), scripted(*scripts) as first, scripted(*scripts) as second:
        mine, oracles = await ours([first.url] * len(scripts)), await theirs([second.url] * len(scripts))
    if oracles[-1] == HUNG:
        mine, oracles = mine[: len(oracles) - 1], oracles[:-1]
    return mine, oracles


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """An answer in pieces, perhaps cut off."""
    data = b"".join(draw(ANSWERS))
    cut = draw(st.none() | st.integers(0, len(data)))
    data = data[:cut]
    at = draw(st.integers(0, len(data)))
    return Script.of(*(piece for piece in (data[:at], data[at:]) if piece), between=draw(st.sampled_from([0.0, 0.001])))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scripts())
async def test_an_answer_means_the_same_to_both(script: Script) -> None:
    mine, oracles = await both(script)
    assert mine == oracles


@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ANSWERS, min_size=2, max_size=4))
async def test_answers_one_after_the_other_mean_the_same_to_both(answers: list[list[bytes]]) -> None:
    """On one connection wherever the answers let it be one."""
    made = []
    for parts in answers:
        data = b"".join(parts).lower()
        ends = b"content-length" in data or b"chunked" in data or b" 204 " in data or b" 304 " in data
        made.append(Script.of(b"".join(parts), end="keep" if ends else "close"))
    mine, oracles = await both(*made)
    assert mine == oracles


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(spoilt(), min_size=1, max_size=3), st.sampled_from(["keep", "close", "reset"]))
async def test_spoilt_answers_harm_no_later_one(answers: list[bytes], end: str) -> None:
    """Nothing hangs, and what follows is answered by its own answer, whatever the connection's last one left behind."""
    good = Script.of(OK + b"X-Own: yes\r\n" + HELLO, end="close")
    made = [Script.of(*([answer] if answer else []), end=end) for answer in answers]
    if end == "keep":  # a spoilt answer may wait for more, which never comes
        made = [Script.of(*script.pieces, end="close") for script in made]
    async with asyncio.timeout(TIMEOUT), scripted(*made, good) as site, http_client() as client:
        asks = 0
        while len(site.requests) < len(made) and asks < 10:
            await asked(client, site.url)
            asks += 1
        got = await asked(client, site.url)
    assert (got.failure, got.status, got.body, got.headers.get(b"x-own")) == (None, 200, b"hello", b"yes")


# Ours is the stricter one, except for the first three.
DIFFERENCES: dict[str, tuple[bytes, Outcome, Outcome]] = {
    # An answer that is complete by its own length is one; what stands behind it costs the connection. With aiohttp it
    # is lost when both came in one segment, and taken when they did not.
    "bytes behind the end": (OK + HELLO + b"x", whole(), FAILED),
    "a body behind a status without one": (b"HTTP/1.1 204 No\r\n" + HELLO, whole(b"", 204), FAILED),
    "bytes behind the end of the last": (OK + b"Connection: close\r\n" + HELLO + b"x", whole(), FAILED),
    # RFC 9112, 7: transfer codings are not sent to those who did not ask (TE); none but chunked is decoded here.
    "a coding in chunks": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", FAILED, whole(b"")),
    "a coding without chunks": (OK + b"Transfer-Encoding: gzip\r\n\r\nhello", FAILED, whole()),
    "identity, which RFC 9112 took out": (OK + b"Transfer-Encoding: identity\r\n\r\nhello", FAILED, whole()),
    "chunked is not the last": (OK + b"Transfer-Encoding: chunked, x\r\n\r\nhello", FAILED, whole()),
    "chunked twice": (OK + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n", FAILED, whole(b"")),
    # RFC 9110, 5.5: not in a header's value. With llhttp's leniency a coding could hide behind them.
    "control characters": (OK + b"X: \x01\x7f\r\n" + HELLO, FAILED, whole()),
    "a coding behind a control character": (OK + b"Transfer-Encoding:\x0bchunked\r\n\r\nhello", FAILED, whole()),
    # RFC 9112, 5.2: senders must not; the same leniency would be needed.
    "a folded line": (OK + b"X: a\r\n b\r\n" + HELLO, FAILED, whole()),
    "a folded line at once": (OK + b" X: a\r\n" + HELLO, FAILED, whole()),
    # RFC 9110, 15: not statuses; RFC 9112, 6.3: an informational answer has no body.
    "a status of 000": (b"HTTP/1.1 000 OK\r\n" + HELLO, FAILED, whole(status=0)),
    "a status of 099": (b"HTTP/1.1 099 OK\r\n" + HELLO, FAILED, whole(status=99)),
    "an informational answer with a body": (b"HTTP/1.1 150 Go\r\n" + HELLO + OK + HELLO, FAILED, whole()),
    # Other versions frame otherwise.
    "HTTP/0.9": (b"HTTP/0.9 200 OK\r\n\r\nhello", FAILED, whole()),
    "HTTP/2.0": (b"HTTP/2.0 200 OK\r\n\r\nhello", FAILED, whole()),
}


@pytest.mark.parametrize("name", DIFFERENCES)
async def test_where_they_differ_is_listed(name: str) -> None:
    answer, expected, expected_of_oracle = DIFFERENCES[name]
    (mine,), (oracles,) = await both(Script.of(answer))
    assert mine._replace(headers=()) == expected
    assert oracles._replace(headers=()) == expected_of_oracle


SAME = {
    "nothing": b"",
    "no HTTP": b"<html>hello</html>",
    "a status line alone": OK,
    "two lengths": OK + FIVE + HELLO,
    "a list of lengths": OK + b"Content-Length: 5, 5\r\n\r\nhello",
    "a length with a sign": OK + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": OK + b"Content-Length: -5\r\n\r\nhello",
    "a hexadecimal length": OK + b"Content-Length: 0x5\r\n\r\nhello",
    "a length and a blank": OK + b"Content-Length: 5 \r\n\r\nhello",
    "no length behind its name": OK + b"Content-Length:\r\n\r\nhello",
    "a length without end": OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
    "length and chunks": OK + FIVE + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n",
    "chunks and length": OK + CHUNKED + FIVE + b"\r\n5\r\nhello\r\n0\r\n\r\n",
    "a chunk that is longer than its size": OK + CHUNKED + b"\r\n5\r\nhelloXX0\r\n\r\n",
    "a chunk that is not ended": OK + CHUNKED + b"\r\n5\r\nhello0\r\n\r\n",
    "a chunk of a negative size": OK + CHUNKED + b"\r\n-5\r\nhello\r\n0\r\n\r\n",
    "a chunk of 0x5": OK + CHUNKED + b"\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk above 2**64": OK + CHUNKED + b"\r\nfffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "a blank behind a chunk's size": OK + CHUNKED + b"\r\n5 \r\nhello\r\n0\r\n\r\n",
    "a quoted extension": OK + CHUNKED + b'\r\n5;a="b c"\r\nhello\r\n0\r\n\r\n',
    "a trailer that is none": OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
    "a length in a trailer": OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
    "another version": b"HTTP/1.2 200 OK\r\n" + HELLO,
    "a version without a point": b"HTTP/1 200 OK\r\n" + HELLO,
    "a protocol in small letters": b"http/1.1 200 OK\r\n" + HELLO,
    "line ends before the status": b"\r\n\r\n" + OK + HELLO,
    "a blank before the status": b" " + OK + HELLO,
    "two blanks in the status line": b"HTTP/1.1  200 OK\r\n" + HELLO,
    "a status of two digits": b"HTTP/1.1 20 OK\r\n" + HELLO,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n" + HELLO,
    "a status above 599": b"HTTP/1.1 999 OK\r\n" + HELLO,
    "switching protocols": b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
    "switching protocols without saying to which": b"HTTP/1.1 101 Go\r\n\r\nhello",
    "an informational answer alone": b"HTTP/1.1 100 Go\r\n\r\n",
    "an informational answer that closes": b"HTTP/1.1 100 Go\r\nConnection: close\r\n\r\n" + OK + HELLO,
    "a blank before a colon": OK + b"X : a\r\n" + HELLO,
    "no name": OK + b": a\r\n" + HELLO,
    "no colon": OK + b"X\r\n" + HELLO,
    "a name that is no token": OK + b"X(: a\r\n" + HELLO,
    "a name that is no ASCII": OK + b"X\xff: a\r\n" + HELLO,
    "a zero byte": OK + b"X: \x00\r\n" + HELLO,
    "a return in a value": OK + b"X: a\rb\r\n" + HELLO,
    "returns alone": (OK + HELLO).replace(b"\n", b""),
    "a header of 8,000 bytes": OK + b"X: " + b"a" * 8000 + b"\r\n" + HELLO,
    "a header of 9,000 bytes": OK + b"X: " + b"a" * 9000 + b"\r\n" + HELLO,
    "a name of 9,000 bytes": OK + b"a" * 9000 + b": x\r\n" + HELLO,
    "a reason of 9,000 bytes": b"HTTP/1.1 200 " + b"a" * 9000 + b"\r\n" + HELLO,
    "100 headers": OK + b"a: b\r\n" * 100 + HELLO,
    "130 headers": OK + b"a: b\r\n" * 130 + HELLO,
    "a compressed answer": OK + b"Content-Encoding: gzip\r\n" + HELLO,
    "an offer to upgrade": OK + b"Upgrade: h2c\r\nConnection: upgrade\r\n" + HELLO,
    "a demand for another key": b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\n" + HELLO,
}


@pytest.mark.parametrize("name", SAME)
async def test_what_is_odd_is_the_same_to_both(name: str) -> None:
    mine, oracles = await both(Script.of(*([SAME[name]] if SAME[name] else [])))
    assert mine == oracles


async def test_what_cannot_be_reached_is_the_same_to_both() -> None:
    async with scripted(Script.of()) as site:
        url = site.url
    assert await ours([url]) == await theirs([url]) == [Outcome("connect")]
