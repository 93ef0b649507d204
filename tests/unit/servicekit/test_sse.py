"""Server-sent events, cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servicekit.sse import MAX_EVENT, EventReader, EventTooLarge

EVENTS = [b"{}", b"two\nlines", "é漢".encode(), b"[DONE]"]


def written(events: list[bytes], newline: bytes) -> bytes:
    lines = [b": comment", b"event: x", b"retry: 1", b""]
    for event in events:
        lines += [b"data: " + line for line in event.split(b"\n")] + [b""]
    return newline.join([*lines, b""])


@given(st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 80), max_size=20))
def test_no_cut_changes_what_is_read(newline: bytes, cuts: list[int]) -> None:
    data = written(EVENTS, newline)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = EventReader()
    read = [event for a, b in itertools.pairwise(edges) for event in reader.feed(data[a:b])]
    assert read + reader.finish() == EVENTS


def test_what_has_no_empty_line_behind_it_is_read_at_the_end() -> None:
    reader = EventReader()
    assert reader.feed(b"data:[DONE]") == []
    assert reader.finish() == [b"[DONE]"]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 1000, b"data: " + b"x" * 1000 + b"\n"])
def test_an_event_without_end_is_refused_at_a_bound(piece: bytes) -> None:
    with pytest.raises(EventTooLarge, match="larger than"):
        EventReader().feed(piece * (2 * MAX_EVENT // 1000))


LINES = [b"data: a", b"data: ", b"data:b", b"data:  c", b"data", b"", b"", b"id: 5", b": d", b"data: data: e", b"x"]


@given(st.lists(st.sampled_from(LINES), max_size=12), st.sampled_from([b"\n", b"\r\n"]))
def test_what_comes_whole_reads_as_what_comes_byte_by_byte(lines: list[bytes], newline: bytes) -> None:
    data = newline.join(lines)
    whole, pieces = EventReader(), EventReader()
    for reader in (whole, pieces):
        reader.feed(b"data: begun\n\n")
    read = whole.feed(data) + whole.finish()
    assert read == [event for byte in data for event in pieces.feed(bytes([byte]))] + pieces.finish()
