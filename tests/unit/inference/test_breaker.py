"""The circuit breaker by itself, its clock in the test's hand."""

from __future__ import annotations

from services.inference.engines.routed.breaker import FAILURES, FIRST_PAUSE, JITTER, LONGEST_PAUSE, Breaker, State
from tests.fakes import FakeClock


def opened(clock: FakeClock, random: float = 0.0) -> Breaker:
    breaker = Breaker(clock, lambda: random)
    for _ in range(FAILURES):
        assert breaker.state is State.CLOSED
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(FakeClock(), lambda: 0.0)
    for _ in range(10):
        for _ in range(FAILURES - 1):
            breaker.failed()
        breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert opened(FakeClock()).state is State.OPEN


def test_pauses_double_up_to_a_bound_that_lets_traffic_return_within_five_seconds() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    pauses = []
    for _ in range(5):
        waited = 0.0
        while not breaker.allows:
            clock.advance(0.25)
            waited += 0.25
        pauses.append(waited)
        assert breaker.enter()
        breaker.failed()
        breaker.leave()
    assert pauses == [FIRST_PAUSE, 2 * FIRST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert LONGEST_PAUSE < 5


def test_half_open_lets_one_request_through_at_a_time() -> None:
    clock = FakeClock()
    breaker = opened(clock)
    assert not breaker.enter()
    clock.advance(FIRST_PAUSE)
    assert breaker.state is State.HALF_OPEN
    assert breaker.enter()
    assert not breaker.allows
    breaker.leave()
    assert breaker.allows


def test_what_answers_late_does_not_close_an_open_circuit() -> None:
    breaker = opened(FakeClock())
    breaker.succeeded()
    assert breaker.state is State.OPEN


def test_a_part_of_each_pause_is_at_random() -> None:
    clock = FakeClock()
    breaker = opened(clock, random=1.0)
    clock.advance(FIRST_PAUSE * (1 - JITTER))
    assert breaker.state is State.HALF_OPEN
