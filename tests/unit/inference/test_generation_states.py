"""Every move of a generation's table, made through what its edge and its engine call, and every move not in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from servicekit.state_table import IllegalMove, move
from services.inference.domain import engine
from services.inference.domain.engine import Delta, Failed, Finished, FinishReason, Prepared, Source, Usage, Withheld
from services.inference.domain.errors import EngineUnavailable
from services.inference.domain.generation import Generation
from services.inference.domain.generation_state import TRANSITIONS, Event, State
from tests.fakes import FakeClock

Step = Callable[[Generation], object]


class Outlet:
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[engine.Event] = []

    def put(self, event: engine.Event) -> None:
        self.events.append(event)

    def attach(self, source: Source) -> None:
        raise AssertionError("nothing reads here")

    def detach(self, source: Source) -> None:
        raise AssertionError("nothing reads here")


class Meter:
    """Keeps what is measured."""

    def __init__(self) -> None:
        self.measured: list[tuple[object, ...]] = []

    def granted(self, model: str, waited: float, prompt_tokens: int) -> None:
        self.measured.append(("granted", waited, prompt_tokens))

    def first_output(self, model: str, seconds: float) -> None:
        self.measured.append(("first", seconds))

    def speed(self, model: str, tokens_per_second: float) -> None:
        self.measured.append(("speed", tokens_per_second))

    def ended(self, model: str, outcome: str, output_tokens: int) -> None:
        self.measured.append(("ended", model, outcome, output_tokens))


PREPARE: Step = lambda generation: generation.prepare("muh", Prepared(7, 100), 2)  # noqa: E731
GO: Step = lambda generation: generation.go()  # noqa: E731
GRANT: Step = lambda generation: generation.grant()  # noqa: E731
OUTPUT: Step = lambda generation: generation.on_deltas([Delta(0, "a", 1)])  # noqa: E731
FINISH: Step = lambda generation: generation.finish(Usage(7, 1))  # noqa: E731
FAIL: Step = lambda generation: generation.fail(EngineUnavailable("died"))  # noqa: E731
STEPS: dict[Event, Step] = {
    Event.PREPARED: PREPARE,
    Event.GO: GO,
    Event.GRANTED: GRANT,
    Event.OUTPUT: OUTPUT,
    Event.FINISH: FINISH,
    Event.FAIL: FAIL,
    Event.CANCEL: lambda generation: generation.cancel(),
    Event.DROP: lambda generation: generation.drop(),
    Event.CLOSE: lambda generation: generation.close(),
}
TO: dict[State, list[Step]] = {
    State.PREPARING: [],
    State.EAGER: [GO],
    State.READY: [PREPARE],
    State.QUEUED: [PREPARE, GO],
    State.GENERATING: [PREPARE, GO, GRANT],
    State.ENDED: [PREPARE, GO, GRANT, FINISH],
}


def made(*steps: Step, clock: FakeClock | None = None) -> tuple[Generation, Outlet, Meter]:
    outlet, meter = Outlet(), Meter()
    generation = Generation("req-1", outlet, clock or FakeClock(), meter)
    for step in steps:
        step(generation)
    return generation, outlet, meter


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_every_state_is_reached(state: State) -> None:
    assert made(*TO[state])[0].state is state


MOVES = [(state, event) for state, moves in TRANSITIONS.items() for event in moves]
LIVE = [state for state in State if state is not State.ENDED]
ILLEGAL = [(state, event) for state in LIVE for event in Event if event not in TRANSITIONS[state]]


@pytest.mark.parametrize(("state", "event"), MOVES, ids=lambda each: each.name)
def test_every_move_leads_where_the_table_says(state: State, event: Event) -> None:
    generation, _, _ = made(*TO[state], STEPS[event])
    assert generation.state is TRANSITIONS[state][event]


@pytest.mark.parametrize(("state", "event"), ILLEGAL, ids=lambda each: each.name)
def test_any_other_move_raises(state: State, event: Event) -> None:
    with pytest.raises(IllegalMove, match=f"{state.name} does not take {event.name}"):
        move(TRANSITIONS, state, event)
    with pytest.raises(IllegalMove):
        made(*TO[state], STEPS[event])


@pytest.mark.parametrize("event", Event, ids=lambda event: event.name)
def test_nothing_is_sent_or_counted_after_the_end(event: Event) -> None:
    generation, outlet, meter = made(*TO[State.ENDED])
    sent, measured = list(outlet.events), list(meter.measured)
    STEPS[event](generation)
    generation.on_withheld(5)
    assert (outlet.events, meter.measured) == (sent, measured)


def test_go_before_the_prompt_is_counted_queues_it_when_it_is() -> None:
    assert made(GO, PREPARE)[0].state is State.QUEUED


@pytest.mark.parametrize("end", [Event.DROP, Event.CLOSE], ids=lambda event: event.name)
def test_who_is_gone_is_sent_no_terminal_event(end: Event) -> None:
    _, outlet, meter = made(*TO[State.GENERATING], OUTPUT, STEPS[end])
    assert outlet.events == [Prepared(7, 100), Delta(0, "a", 1)]
    assert meter.measured[-1] == ("ended", "muh", {"DROP": "dropped", "CLOSE": "closed"}[end.name], 1)


def test_cancelling_ends_every_open_choice_and_reports_the_count() -> None:
    generation, outlet, _ = made(*TO[State.GENERATING])
    generation.on_deltas([Delta(0, "a", 2), Delta(1, "b", 1, finish_reason=FinishReason.STOP)])
    generation.cancel()
    assert outlet.events[-2:] == [Delta(0, "", 0, finish_reason=FinishReason.CANCELLED), Finished(7, 3)]


def test_finishing_never_reports_more_than_was_given_out_nor_more_than_the_engine_counted() -> None:
    for usage, output in ((Usage(7, 5), 1), (Usage(8, 0), 0)):
        generation, outlet, _ = made(*TO[State.GENERATING], OUTPUT)
        generation.finish(usage)
        assert outlet.events[-1] == Finished(usage.prompt_tokens, output)


def test_a_failure_reports_the_tokens_that_were_given_out() -> None:
    _, outlet, meter = made(*TO[State.GENERATING], OUTPUT, FAIL)
    (failed,) = [event for event in outlet.events if isinstance(event, Failed)]
    assert failed.output_tokens == 1
    assert meter.measured[-1] == ("ended", "muh", "engine_unavailable", 1)


def test_what_is_withheld_is_reported_and_is_no_output() -> None:
    generation, outlet, meter = made(*TO[State.GENERATING])
    generation.on_withheld(4)
    assert outlet.events[-1] == Withheld(4)
    assert generation.output_tokens == 0
    assert not [each for each in meter.measured if each[0] == "first"]


def test_waiting_first_output_and_speed_are_measured_from_go() -> None:
    clock = FakeClock()
    generation, _, meter = made(PREPARE, clock=clock)
    clock.advance(5)
    generation.go()
    clock.advance(1)
    generation.grant()
    clock.advance(2)
    generation.on_deltas([Delta(0, "a", 1)])
    clock.advance(4)
    generation.on_deltas([Delta(0, "b", 8)])
    generation.finish(Usage(7, 9))
    assert meter.measured == [
        ("granted", 1.0, 7),
        ("first", 3.0),
        ("speed", 2.0),
        ("ended", "muh", "finished", 9),
    ]
