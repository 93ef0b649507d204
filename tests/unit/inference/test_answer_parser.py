"""One answer of HTTP/1.1 from bytes: framing, what is refused, what each part may cost, however it is cut."""

from __future__ import annotations

import itertools
import os
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.engines.upstream.http.answer_parser import MAX_FRAMING, MAX_HEAD, AnswerParser
from tests.http_answers import ANSWERS, spoilt

EXAMPLES = int(os.environ.get("MUHGPT_TEST_EXAMPLES", "300"))
OK = b"HTTP/1.1 200 OK\r\n"
FIVE = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
MAX_MEMORY = 8 * 1024 * 1024  # bytes


def read(pieces: Iterable[bytes], *, closed: bool = True) -> tuple[AnswerParser, bytes]:
    """Feeds pieces until the end or a failure; `closed`: and then the connection's end."""
    parser, body = AnswerParser(), b""
    for piece in pieces:
        body += parser.feed(piece)
        if parser.complete or parser.failure is not None:
            return parser, body
    if closed:
        parser.finish()
    return parser, body


@pytest.mark.parametrize(
    ("answer", "status", "body", "reusable"),
    [
        (OK + FIVE + b"\r\nhello", 200, b"hello", True),
        (OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
        (OK + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n", 200, b"hello", True),
        (OK + CHUNKED + b"\r\n5;a=b\r\nhello\r\n00\r\nX: y\r\n\r\n", 200, b"hello", True),
        (OK + b"transfer-ENCODING:  Chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", 200, b"hello", True),
        (OK + b"\r\nhello", 200, b"hello", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + FIVE + b"\r\nhello", 200, b"hello", False),
        (OK + b"Connection: close\r\n" + FIVE + b"\r\nhello", 200, b"hello", False),
        (OK + b"Connection: keep-alive, close\r\n" + FIVE + b"\r\nhello", 200, b"hello", False),
        (OK + FIVE + b"\r\nhelloHTTP/1.1 200 OK\r\n\r\nevil", 200, b"hello", False),
        (OK + FIVE + b"\r\nhellox", 200, b"hello", False),
        (OK.replace(b"\r", b"") + b"Content-Length: 5\n\nhello", 200, b"hello", True),
        (b"\r\n" + OK + FIVE + b"\r\nhello", 200, b"hello", True),
        (b"HTTP/1.1 200\r\n" + FIVE + b"\r\nhello", 200, b"hello", True),
        (b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hint\r\nX: y\r\n\r\n" + OK + FIVE + b"\r\nhello", 200, b"hello", True),
        (b"HTTP/1.1 101 Switch\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello", 101, b"", False),
        (b"HTTP/1.1 101 Switch\r\n\r\nhello", 101, b"", False),
        (b"HTTP/1.1 204 No\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 304 Same\r\n" + FIVE + b"\r\n", 304, b"", True),
        (b"HTTP/1.1 204 No\r\n" + FIVE + b"\r\nhello", 204, b"", False),
        (b"HTTP/1.1 999 Odd\r\n" + FIVE + b"\r\nhello", 999, b"hello", True),
    ],
)
def test_an_answer_ends_where_its_framing_says(answer: bytes, status: int, body: bytes, reusable: bool) -> None:
    parser, got = read([answer])
    assert (parser.status, got, parser.complete, parser.failure) == (status, body, True, None)
    assert parser.reusable is reusable


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"<html>hello</html>",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n" + FIVE + b"\r\nhello",
        b"HTTP/1.2 200 OK\r\n" + FIVE + b"\r\nhello",
        b"http/1.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n" + FIVE + b"\r\nhello",
        b"HTTP/1.1 099 OK\r\n" + FIVE + b"\r\nhello",
        b"HTTP/1.1 20 OK\r\n" + FIVE + b"\r\nhello",
        b"HTTP/1.1 2000 OK\r\n" + FIVE + b"\r\nhello",
        OK + FIVE + FIVE + b"\r\nhello",
        OK + b"Content-Length: 5, 5\r\n\r\nhello",
        OK + b"Content-Length: +5\r\n\r\nhello",
        OK + b"Content-Length: -5\r\n\r\nhello",
        OK + b"Content-Length: 0x5\r\n\r\nhello",
        OK + b"Content-Length:\r\n\r\nhello",
        OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nhello",
        OK + FIVE + CHUNKED + b"\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + CHUNKED + FIVE + b"\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + CHUNKED + CHUNKED + b"\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: identity\r\n\r\nhello",
        OK + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        OK + b"X : y\r\n" + FIVE + b"\r\nhello",
        OK + b"X: y\r\n z\r\n" + FIVE + b"\r\nhello",
        OK + b": y\r\n" + FIVE + b"\r\nhello",
        OK + b"X: \x00\r\n" + FIVE + b"\r\nhello",
        OK + b"X: y\rz\r\n" + FIVE + b"\r\nhello",
        b"HTTP/1.1 150 Go\r\n" + FIVE + b"\r\nhello" + OK + FIVE + b"\r\nworld",
        b"HTTP/1.1 100 Go\r\n" + CHUNKED + b"\r\n0\r\n\r\n" + OK + FIVE + b"\r\nworld",
    ],
)
def test_what_is_no_answer_is_refused_before_anything_is_believed(answer: bytes) -> None:
    for pieces in ([answer], [answer[index : index + 1] for index in range(len(answer))]):
        parser, body = read(pieces)
        assert parser.failure is not None
        assert (parser.failure.fault.value, parser.status, body) == ("protocol", 0, b"")


@pytest.mark.parametrize(
    "framing",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhello",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n",
    ],
)
def test_chunks_that_are_none_are_refused(framing: bytes) -> None:
    answer = OK + CHUNKED + b"\r\n" + framing
    for pieces in ([answer], [answer[index : index + 1] for index in range(len(answer))]):
        parser, body = read(pieces)
        assert parser.failure is not None
        assert parser.failure.fault.value == "protocol"
        assert b"hello".startswith(body)


@pytest.mark.parametrize(
    "answer", [OK + FIVE + b"\r\nhell", OK + CHUNKED + b"\r\n5\r\nhello\r\n", OK, b"", b"HTTP/1.1"]
)
def test_an_end_before_the_end_is_a_cut(answer: bytes) -> None:
    parser, _ = read([answer] if answer else [])
    assert parser.failure is not None
    assert parser.failure.fault.value == "cut"


@pytest.mark.parametrize(
    "start",
    [
        OK + (b"X: " + b"y" * 4000 + b"\r\n") * 20,
        OK + b"X: y\r\n" * 129,
        b"HTTP/1.1 100 Go\r\n\r\n" * 65 + OK,
        OK + b"X: " + b"y" * 8200 + b"\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_a_header_is_bounded_however_it_is_cut(start: bytes, size: int) -> None:
    answer = start + FIVE + b"\r\nhello"
    parser, body = read([answer[at : at + size] for at in range(0, len(answer), size)])
    assert parser.failure is not None
    assert (parser.failure.fault.value, parser.status, body) == ("oversized", 0, b"")


def endless(start: bytes, piece: bytes) -> Iterable[bytes]:
    yield start
    yield from itertools.repeat(piece)


@pytest.mark.parametrize("size", [1, 100, 250_000])
@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200 ", b"x"),
        (OK + b"X", b"x"),
        (OK + b"X: ", b"x"),
        (OK, b"X: y\r\n"),
        (b"", b"\r\n"),
        (b"", b"HTTP/1.1 100 Go\r\n\r\n"),
        (OK + CHUNKED + b"\r\n", b"0"),
        (OK + CHUNKED + b"\r\n5;", b"x"),
        (OK + CHUNKED + b"\r\n5\r\nhello\r\n1;", b"x"),
        (OK + CHUNKED + b"\r\n0\r\n", b"x: y\r\n"),
        (OK + CHUNKED + b"\r\n0\r\nX: ", b"x"),
        (OK + CHUNKED + b"\r\n0\r\nX", b"x"),
        (OK + CHUNKED + b"\r\nf4240\r\n" + b"x" * 1_000_000 + b"\r\n0\r\nX: ", b"x"),
        (OK + CHUNKED + b"\r\n", b"1;" + b"x" * 500 + b"\r\ny\r\n"),
    ],
)
def test_what_is_no_body_is_bounded(start: bytes, piece: bytes, size: int) -> None:
    repeated = piece * max(1, size // len(piece))
    tracemalloc.start()
    try:
        fed = 0
        parser = AnswerParser()
        for data in endless(start, repeated):
            if not data:
                continue
            parser.feed(data)
            fed += len(data)
            if parser.failure is not None:
                break
            assert fed < len(start) + MAX_HEAD + MAX_FRAMING + 10_000 * len(piece) + len(repeated)
        assert tracemalloc.get_traced_memory()[1] < MAX_MEMORY
    finally:
        tracemalloc.stop()
    assert parser.failure.fault.value in ("oversized", "protocol")


def test_a_server_that_makes_each_byte_a_chunk_is_read() -> None:
    answer = OK + CHUNKED + b"\r\n" + b"1\r\nx\r\n" * 300_000 + b"0\r\n\r\n"
    parser, body = read([answer[start : start + 65_536] for start in range(0, len(answer), 65_536)])
    assert (parser.failure, body) == (None, b"x" * 300_000)


def outcome(parser: AnswerParser, body: bytes) -> tuple[object, ...]:
    return parser.status, parser.headers, body, parser.complete, parser.failure


@settings(max_examples=EXAMPLES, deadline=None)
@given(ANSWERS.map(b"".join) | spoilt(), st.data())
def test_the_cuts_between_reads_mean_nothing(answer: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(answer)), max_size=8)))
    pieces = [answer[start:end] for start, end in itertools.pairwise([0, *cuts, len(answer)]) if start < end]
    whole, cut = read([answer] if answer else []), read(pieces)
    if whole[0].failure is None:
        assert outcome(*cut) == outcome(*whole)
    else:  # what came before is pushed in both; how much of it depends on the cuts
        assert cut[0].failure is not None
        assert cut[0].failure.fault == whole[0].failure.fault
        assert whole[1].startswith(cut[1]) or cut[1].startswith(whole[1])


@settings(max_examples=EXAMPLES, deadline=None)
@given(spoilt() | st.binary(max_size=300))
def test_whatever_comes_nothing_is_raised_and_nothing_made_up(answer: bytes) -> None:
    parser, body = read([answer] if answer else [])
    assert parser.complete is (parser.failure is None)
    assert len(body) <= len(answer)
    if parser.complete:
        assert 100 <= parser.status <= 999
        assert parser.status == 101 or parser.status >= 200
