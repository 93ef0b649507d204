"""The key's format: what is minted is well formed, what is mistyped is not."""

from __future__ import annotations

import hashlib
import secrets
import zlib

from hypothesis import given
from hypothesis import strategies as st

from common import key_format

KEYS = st.builds(lambda seed: key_format.mint(repeat(seed)), st.binary(min_size=30, max_size=60))
CHARACTERS = st.sampled_from(key_format.ALPHABET + "_- é\0") | st.characters(codec="utf-8")


def repeat(seed: bytes) -> key_format.RandomBytes:
    """Randomness that is the same each time; spread out, so that bytes which are thrown away do not repeat for ever."""
    blocks = iter(range(1_000_000))
    return lambda size: hashlib.shake_256(seed + next(blocks).to_bytes(4, "big")).digest(size)


@given(KEYS)
def test_a_minted_key_is_well_formed_and_has_the_documented_parts(key: str) -> None:
    assert key_format.is_well_formed(key)
    assert len(key) == 41
    assert key.startswith("mghp_")
    assert set(key[5:]) <= set(key_format.ALPHABET)


@given(KEYS, st.integers(0, 40), CHARACTERS)
def test_a_key_with_any_one_character_changed_is_refused(key: str, place: int, character: str) -> None:
    corrupted = key[:place] + character + key[place + 1 :]
    assert key_format.is_well_formed(corrupted) == (corrupted == key)


@given(KEYS, st.integers(5, 39))
def test_a_key_with_two_neighbours_swapped_is_refused(key: str, place: int) -> None:
    swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assert key_format.is_well_formed(swapped) == (swapped == key)


@given(KEYS, st.integers(0, 40))
def test_a_key_with_a_character_missing_or_doubled_is_refused(key: str, place: int) -> None:
    assert not key_format.is_well_formed(key[:place] + key[place + 1 :])
    assert not key_format.is_well_formed(key[:place] + key[place] + key[place:])


@given(st.text())
def test_any_text_can_be_asked_about(text: str) -> None:
    assert key_format.is_well_formed(text) in (True, False)


def test_the_checksum_is_crc_32_of_what_precedes_in_base62() -> None:
    key = key_format.mint(lambda size: bytes(size))
    assert key[:35] == "mghp_" + "0" * 30
    number = 0
    for character in key[35:]:
        number = number * 62 + key_format.ALPHABET.index(character)
    assert number == zlib.crc32(key[:35].encode())


def test_bytes_that_would_favour_some_characters_are_thrown_away() -> None:
    offered = iter([b"\xff\xf8" * 15, bytes(range(30))])
    assert key_format.mint(lambda size: next(offered))[5:35] == key_format.ALPHABET[:30]


def test_the_digest_is_sha_256_of_the_whole_key() -> None:
    key = key_format.mint(secrets.token_bytes)
    assert key_format.digest(key) == hashlib.sha256(key.encode()).digest()


def test_surrogates_from_a_header_do_not_break_the_check() -> None:
    assert not key_format.is_well_formed("mghp_" + "\udc80" * 36)
