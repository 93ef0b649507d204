"""State machines as tables: `_TRANSITIONS: dict[State, dict[Event, State]]` beside the class that moves by it.

A move that is not in the table is an internal error and raises. docs/states.md draws the tables; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)

Table = Mapping[S, Mapping[E, S]]


class IllegalMove(Exception):
    """An event that its machine's state has no place for."""

    def __init__(self, state: Enum, event: Enum) -> None:
        super().__init__(f"{type(state).__name__} {state.name} does not take {event.name}")


def move(table: Table[S, E], state: S, event: E) -> S:
    """The state after `event`. Raises IllegalMove."""
    after = table[state].get(event)
    if after is None:
        raise IllegalMove(state, event)
    return after


def diagram(table: Table[S, E], start: S) -> str:
    """The table as a Mermaid state diagram; moves that change nothing are left out."""
    lines = ["stateDiagram-v2", f"    [*] --> {start.name}"]
    for state, moves in table.items():
        events: dict[S, list[str]] = {}
        for event, after in moves.items():
            if after is not state:
                events.setdefault(after, []).append(event.name.lower())
        lines += [f"    {state.name} --> {after.name}: {', '.join(names)}" for after, names in events.items()]
        if not moves:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join(lines) + "\n"
