"""Ids of holds."""

from __future__ import annotations

from services.edge.peers.quota.hold_id import new_hold_id

INSTANT_US = 1_750_000_000_000_000


def test_an_id_is_sixteen_bytes_and_no_two_of_one_instant_are_alike() -> None:
    ids = {new_hold_id(INSTANT_US) for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(each) for each in ids} == {16}


def test_a_later_id_sorts_behind_an_earlier_one() -> None:
    ids = [new_hold_id(INSTANT_US + milliseconds * 1000) for milliseconds in range(1000)]
    assert ids == sorted(ids)
