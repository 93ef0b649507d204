"""Ids of holds."""

from __future__ import annotations

from common.hold_id import instant_us, lowest_at, new_hold_id

INSTANT_US = 1_750_000_000_000_000


def test_an_id_is_sixteen_bytes_and_no_two_of_one_instant_are_alike() -> None:
    ids = {new_hold_id(INSTANT_US) for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {16}


def test_a_later_id_sorts_behind_an_earlier_one() -> None:
    ids = [new_hold_id(INSTANT_US + milliseconds * 1000) for milliseconds in range(1000)]
    assert ids == sorted(ids)


def test_an_id_holds_its_instant_and_a_bound_parts_earlier_ids_from_later_ones() -> None:
    made = new_hold_id(INSTANT_US, lambda length: bytes(length))
    assert made == bytes.fromhex("01977420dc00") + bytes(10)
    assert instant_us(made) == INSTANT_US
    assert new_hold_id(INSTANT_US - 1) < lowest_at(INSTANT_US) <= made
    assert lowest_at(-1) == bytes(6)
    assert lowest_at(2**80) == b"\xff" * 6
