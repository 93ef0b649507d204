"""The pause before a restart."""

from __future__ import annotations

from servicekit.process.backoff import Backoff


def test_pauses_double_up_to_the_last_and_begin_anew_after_a_steady_life() -> None:
    backoff = Backoff(0.1, 1.0, steady=30.0)
    assert [backoff.pause(lived=1.0) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert [backoff.pause(lived=30.0), backoff.pause(lived=29.9)] == [0.1, 0.2]


def test_many_failures_do_not_overflow() -> None:
    backoff = Backoff(0.1, 5.0, steady=30.0)
    assert {backoff.pause() for _ in range(5000)} == {0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0}
