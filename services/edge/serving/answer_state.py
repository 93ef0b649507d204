"""The states of a running answer and the moves between them, drawn in docs/states.md."""

from __future__ import annotations

from enum import Enum

from servicekit.state_table import Table


class State(Enum):
    """How far an answer is."""

    RUNNING = "what the engine sends and the hold covers is delivered"
    SETTLING = "the output has ended and its charge was handed over; the last batch is still to be given"
    GIVEN = "the last batch was given"
    FAILED = "ended with an error"
    LEFT = "the client went away"


class Event(Enum):
    """What happens to an answer."""

    FINISH = "the engine has ended"
    CUT = "the money is used up"
    FAIL = "the engine failed, or something outside ends the answer"
    GIVE = "the charge is acknowledged, or was waited for long enough"
    LEAVE = "the client goes away, or has been answered"


TRANSITIONS: Table[State, Event] = {
    State.RUNNING: {
        Event.FINISH: State.SETTLING,
        Event.CUT: State.SETTLING,
        Event.FAIL: State.FAILED,
        Event.LEAVE: State.LEFT,
    },
    # After the end of the output nothing fails any more: it is charged, and the client gets it.
    State.SETTLING: {Event.GIVE: State.GIVEN, Event.FAIL: State.SETTLING, Event.LEAVE: State.LEFT},
    State.GIVEN: {Event.FAIL: State.GIVEN, Event.LEAVE: State.GIVEN},
    State.FAILED: {Event.FAIL: State.FAILED, Event.LEAVE: State.FAILED},
    State.LEFT: {Event.FAIL: State.LEFT, Event.LEAVE: State.LEFT},
}
