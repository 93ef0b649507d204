"""Every move of a hold's table, made through what the request and the link call, and every move that is not in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from muhgpt.quota.v1 import quota_pb2
from servicekit.state_table import IllegalMove, move
from services.edge.peers.quota.hold import Hold
from services.edge.peers.quota.hold_state import TRANSITIONS, Event, State

ID = b"0123456789abcdef"
NEW_QUOTA, OLD_QUOTA = frozenset({"confirm"}), frozenset[str]()
Refused = quota_pb2.Refused
Step = Callable[[Hold], object]


def outcome(**fields: object) -> Step:
    return lambda hold: hold.accept(quota_pb2.Outcome(hold_id=ID, **fields))  # type: ignore[arg-type]


def send(features: frozenset[str] = NEW_QUOTA) -> Step:
    return lambda hold: hold.take(1.0, features)


def slide(hold: Hold) -> None:
    """Asks for more than ever, and sends that."""
    hold.progress(hold.asked + 1, hold.asked + 1)
    hold.take(1.0, NEW_QUOTA)


def both(*steps: Step) -> Step:
    return lambda hold: [step(hold) for step in steps]


RESERVE: Step = lambda hold: hold.reserve(quota_pb2.Reserve(max_tokens=500))  # noqa: E731
RESERVED = outcome(reserved=quota_pb2.Reserved(max_tokens=500, covered_tokens=64))
SETTLED = outcome(settled=quota_pb2.Settled(credits=1))
RELEASED = outcome(released=quota_pb2.Released())
CONFIRMED = outcome(confirmed=quota_pb2.Confirmed())
REFUSED = outcome(refused=Refused(reason=Refused.REASON_INVALID))
RELEASE: Step = lambda hold: hold.release()  # noqa: E731
CONFIRM: Step = lambda hold: hold.confirm()  # noqa: E731
LOSE: Step = lambda hold: hold.lose()  # noqa: E731
UNWRITTEN: Step = lambda hold: hold.settle(3, unconfirmed=True)  # noqa: E731
BREAK: Step = lambda hold: hold.forget_sent()  # noqa: E731

# How each state is reached, with a refusal or an answer for what was last sent still possible.
TO: dict[State, list[Step]] = {
    State.NEW: [],
    State.WAITING: [RESERVE],
    State.RESERVING: [RESERVE, send()],
    State.HELD: [RESERVE, send(), RESERVED],
    State.LOST: [RESERVE, send(), RESERVED, LOSE],
    State.ENDING: [RESERVE, send(), RESERVED, RELEASE, send()],
    State.SETTLING: [RESERVE, send(), RESERVED, UNWRITTEN, send()],
    State.WRITTEN: [RESERVE, send(), RESERVED, UNWRITTEN, send(), CONFIRM],
    State.CHARGED: [RESERVE, send(), RESERVED, UNWRITTEN, send(), SETTLED],
    State.CONFIRMING: [RESERVE, send(), RESERVED, UNWRITTEN, send(), SETTLED, CONFIRM, send()],
    State.ENDED: [RESERVE, RELEASE],
}
REFUSED_SLIDE = [RESERVE, send(), RESERVED, slide]  # …, an end, and then the refusal of the slide

MOVES: dict[tuple[State, Event], tuple[list[Step], Step]] = {
    (State.NEW, Event.RESERVE): (TO[State.NEW], RESERVE),
    (State.NEW, Event.END): (TO[State.NEW], RELEASE),
    (State.WAITING, Event.SEND): (TO[State.WAITING], send()),
    (State.WAITING, Event.END): (TO[State.WAITING], RELEASE),
    (State.RESERVING, Event.SEND): (TO[State.RESERVING], both(BREAK, send())),
    (State.RESERVING, Event.RESERVED): (TO[State.RESERVING], RESERVED),
    (State.RESERVING, Event.REFUSE): (TO[State.RESERVING], REFUSED),
    (State.RESERVING, Event.END): (TO[State.RESERVING], RELEASE),
    (State.HELD, Event.LOSE): (TO[State.HELD], both(slide, REFUSED)),
    (State.HELD, Event.END): (TO[State.HELD], RELEASE),
    (State.HELD, Event.SETTLE_UNWRITTEN): (TO[State.HELD], UNWRITTEN),
    (State.LOST, Event.LOSE): ([*REFUSED_SLIDE, LOSE], REFUSED),
    (State.LOST, Event.END): (TO[State.LOST], RELEASE),
    (State.LOST, Event.SETTLE_UNWRITTEN): (TO[State.LOST], UNWRITTEN),
    (State.ENDING, Event.RESERVED): ([RESERVE, send(), RELEASE, send()], RESERVED),
    (State.ENDING, Event.LOSE): ([*REFUSED_SLIDE, RELEASE, send()], REFUSED),
    (State.ENDING, Event.CHARGE): (TO[State.ENDING], RELEASED),
    (State.ENDING, Event.REFUSE): (TO[State.ENDING], REFUSED),
    (State.SETTLING, Event.LOSE): ([*REFUSED_SLIDE, UNWRITTEN, send()], REFUSED),
    (State.SETTLING, Event.CONFIRM): (TO[State.SETTLING], CONFIRM),
    (State.SETTLING, Event.CHARGE): ([*TO[State.HELD], UNWRITTEN, send(OLD_QUOTA)], SETTLED),
    (State.SETTLING, Event.CHARGE_UNCONFIRMED): (TO[State.SETTLING], SETTLED),
    (State.SETTLING, Event.REFUSE): (TO[State.SETTLING], REFUSED),
    (State.WRITTEN, Event.LOSE): ([*REFUSED_SLIDE, UNWRITTEN, send(), CONFIRM], REFUSED),
    (State.WRITTEN, Event.CHARGE): (TO[State.WRITTEN], both(BREAK, send(), SETTLED)),
    (State.WRITTEN, Event.CHARGE_UNCONFIRMED): (TO[State.WRITTEN], SETTLED),
    (State.WRITTEN, Event.REFUSE): (TO[State.WRITTEN], REFUSED),
    (State.CHARGED, Event.LOSE): ([*REFUSED_SLIDE, UNWRITTEN, send(), SETTLED], REFUSED),
    (State.CHARGED, Event.CONFIRM): (TO[State.CHARGED], CONFIRM),
    (State.CONFIRMING, Event.LOSE): ([*REFUSED_SLIDE, UNWRITTEN, send(), SETTLED, CONFIRM], REFUSED),
    (State.CONFIRMING, Event.CONFIRMED): (TO[State.CONFIRMING], CONFIRMED),
    (State.CONFIRMING, Event.REFUSE): (TO[State.CONFIRMING], REFUSED),
}


def made(steps: list[Step]) -> Hold:
    hold = Hold(ID, lambda hold: None, lambda: None)
    for step in steps:
        step(hold)
    return hold


def test_the_table_holds_these_moves_and_no_others() -> None:
    assert {(state, event) for state, moves in TRANSITIONS.items() for event in moves} == set(MOVES)
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_every_state_is_reached(state: State) -> None:
    assert made(TO[state]).state is state


@pytest.mark.parametrize(("state", "event"), MOVES, ids=lambda each: each.name)
def test_every_move_leads_where_the_table_says(state: State, event: Event) -> None:
    before, step = MOVES[state, event]
    hold = made(before)
    assert hold.state is state
    step(hold)
    assert hold.state is TRANSITIONS[state][event]


ILLEGAL = [(state, event) for state in State for event in Event if event not in TRANSITIONS[state]]


@pytest.mark.parametrize(("state", "event"), ILLEGAL, ids=lambda each: each.name)
def test_any_other_move_raises(state: State, event: Event) -> None:
    with pytest.raises(IllegalMove, match=f"{state.name} does not take {event.name}"):
        move(TRANSITIONS, state, event)


@pytest.mark.parametrize("state", [State.WAITING, State.ENDED], ids=lambda state: state.name)
def test_a_hold_without_a_reservation_takes_no_unwritten_charge_and_cannot_be_lost(state: State) -> None:
    hold = made(TO[state])
    with pytest.raises(IllegalMove):
        hold.lose()
    with pytest.raises(IllegalMove):
        RESERVE(hold)
