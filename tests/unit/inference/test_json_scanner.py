"""JSON objects followed as they come: the scanner agrees with Python's parser, however the text is cut."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.domain.json.scanner import MAX_DEPTH, ObjectScanner, Progress

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(), values, max_size=4)
RANDOM = st.text(alphabet='{}[]":,\\/ \n0123.-+eEtruefalsn"ud8', max_size=40)


def scan(pieces: list[str]) -> tuple[str, int, Progress]:
    scanner, sound, read = ObjectScanner(), "", 0
    for piece in pieces:
        more, count = scanner.feed(piece)
        sound, read = sound + more, read + count
    return sound, read, scanner.progress


def is_json(text: str) -> bool:
    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


@settings(deadline=None)  # the machine may be busy
@given(objects, st.booleans(), st.sampled_from([None, 0, 2]), st.text())
def test_an_object_is_taken_whole_and_what_follows_is_left(
    value: Any, ascii_only: bool, indent: int | None, rest: str
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert scan([text + rest]) == (text, len(text), Progress.WHOLE)
    assert scan([text[:-1]])[2] is Progress.OPEN


@settings(deadline=None)  # the machine may be busy
@given(RANDOM)
def test_it_takes_what_pythons_parser_takes_and_nothing_else(tail: str) -> None:
    text = "{" + tail
    sound, _, progress = scan([text])
    assert is_json(sound if progress is Progress.WHOLE else text) == (progress is Progress.WHOLE)


@settings(deadline=None)  # the machine may be busy
@given(RANDOM | objects.map(json.dumps), st.data())
def test_pieces_give_what_the_whole_gives(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
    assert scan(pieces) == scan([text])


@pytest.mark.parametrize(
    ("text", "sound"),
    [
        ('{"a": }', '{"a": '),
        ('{"a": 01}', '{"a": 0'),
        ('{"a": 1.}', '{"a": 1.'),
        ('{"a": "\\x"}', '{"a": "\\'),
        ('{"a": nul}', '{"a": nul'),
        ('{"a": NaN}', '{"a": '),
        ('{"a": [1}', '{"a": [1'),
        ('{"a": 1,}', '{"a": 1,'),
        ("[]", ""),
    ],
)
def test_it_stops_before_the_first_character_that_is_wrong(text: str, sound: str) -> None:
    assert scan([text]) == (sound, len(sound), Progress.BROKEN)


def test_a_line_break_in_a_string_is_given_back_escaped() -> None:
    text = '{"code": "a\n\tb"}'
    assert scan([text]) == ('{"code": "a\\n\\tb"}', len(text), Progress.WHOLE)


def test_depth_is_bounded() -> None:
    assert scan(['{"a":' + "[" * (MAX_DEPTH - 1)])[2] is Progress.OPEN
    assert scan(['{"a":' + "[" * MAX_DEPTH])[2] is Progress.BROKEN
