"""Trust counts from the sending of what was answered."""

from __future__ import annotations

from services.edge.peers.streaming.lease_heartbeat import Heart
from tests.fakes import FakeClock


def _heart(clock: FakeClock) -> Heart:
    return Heart(clock, clock.monotonic(), 5.0, 1.0)


def test_trust_lasts_a_lifetime_from_the_sending_of_the_last_answered_heartbeat() -> None:
    clock = FakeClock()
    heart = _heart(clock)
    assert heart.lapses_at == clock.monotonic() + 5
    heart.ask()
    clock.advance(1)
    sent = clock.monotonic()
    number = heart.next()
    assert number is not None
    clock.advance(3)
    heart.answer(number)
    assert heart.lapses_at == sent + 5


def test_an_answer_to_an_older_heartbeat_does_not_shorten_trust() -> None:
    clock = FakeClock()
    heart = _heart(clock)
    numbers = []
    for _ in range(2):
        heart.ask()
        clock.advance(1)
        numbers.append(heart.next())
    heart.answer(numbers[1] or 0)
    lapse = heart.lapses_at
    heart.answer(numbers[0] or 0)
    assert heart.lapses_at == lapse


def test_answers_to_what_was_never_sent_say_nothing() -> None:
    clock = FakeClock()
    heart = _heart(clock)
    lapse = heart.lapses_at
    clock.advance(4)
    heart.answer(17)
    assert heart.lapses_at == lapse


def test_nothing_is_due_between_intervals_and_piled_up_ones_are_one() -> None:
    heart = _heart(FakeClock())
    assert heart.next() is None
    heart.ask()
    heart.ask()
    assert heart.next() == 2
    assert heart.next() is None


def test_two_intervals_without_an_answer_are_silence() -> None:
    heart = _heart(FakeClock())
    for _ in range(2):
        heart.ask()
        heart.next()
        assert not heart.silent
    heart.ask()
    assert heart.silent
