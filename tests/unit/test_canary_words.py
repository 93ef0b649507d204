"""The search that stands behind G11 finds what it is meant to find."""

from __future__ import annotations

import base64

import pytest

from tests.canary_words import CUT, Canaries, Output

KEY = "mghp_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
FORMS = {
    "as it is": lambda word: word,
    "in a sentence": lambda word: f"got '{word}' (1)",
    "escaped": lambda word: f"\\u0022{word}\\n%20{word}&amp;",
    "in capitals": lambda word: word.upper(),
    "its first half": lambda word: word[:17],
    "its second half": lambda word: word[17:],
    "its middle": lambda word: word[8:26],
    "between bytes": lambda word: f"\0\x7f{word}\0",
}


def named(canaries: Canaries, content: str) -> list[str]:
    return [leak.what for leak in canaries.leaks(Output("a log", content.encode()))]


@pytest.mark.parametrize("form", FORMS)
def test_a_canary_is_found_by_its_name(form: str) -> None:
    canaries = Canaries()
    canaries.word("another")
    assert named(canaries, FORMS[form](canaries.word("prompt"))) == ["prompt"]


@pytest.mark.parametrize("before", range(5))
def test_a_canary_is_found_in_base64_and_in_hexadecimal_digits(before: int) -> None:
    canaries = Canaries()
    data = b"x" * before + canaries.word("prompt").encode() + b"yy"
    assert named(canaries, base64.b64encode(data).decode()) == ["a canary in base64"]
    assert named(canaries, base64.urlsafe_b64encode(data).decode()) == ["a canary in base64"]
    assert named(canaries, data.hex()) == ["a canary in hexadecimal"]


def test_a_canary_of_which_little_is_left_is_found_without_its_name() -> None:
    canaries = Canaries()
    assert named(canaries, canaries.word("prompt")[:9]) == [CUT]


def test_a_secret_is_found_by_its_pieces_but_not_by_the_ends_that_are_shown() -> None:
    canaries = Canaries()
    canaries.secret("key", KEY, shown=(9, 4))
    assert named(canaries, f"prefix {KEY[:9]}, last four {KEY[-4:]}") == []
    assert named(canaries, f"Bearer {KEY}") == ["key"]
    assert named(canaries, KEY[12:30]) == ["key"]


def test_what_was_never_a_canary_is_not_found() -> None:
    canaries = Canaries()
    canaries.word("prompt")
    other = Canaries()
    assert named(canaries, " ".join(other.word("x") for _ in range(1000))) == []
