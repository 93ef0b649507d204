"""One choice's tool calls out of an upstream's pieces, whichever way the server tells one call from the next.

OpenAI numbers its calls by `index`. Others give every call index 0, or neither index nor id, or send each call whole.
So a piece begins a call when its index is new, or when its id or name cannot belong to the call that it points at.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from services.inference.domain.engine import ToolCallDelta
from services.inference.domain.errors import TargetFailed
from services.inference.domain.json.scanner import ObjectScanner, Progress
from services.inference.engines.upstream.values import count, items, mapping

MAX_CALLS = 128  # of one choice: as many as tools can be given
MAX_NAME = 256  # characters
MAX_HELD = 1024 * 1024  # characters of arguments whose function is not known yet
NOTHING = "null"  # what some send for no arguments


class _Call:
    """One call; it begins for the client when its name is known."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.begun = False
        self.held = ""  # arguments that are not given out yet
        self.given = False  # whether any arguments were given out
        self.scanner = ObjectScanner()

    @property
    def whole(self) -> bool:
        """Whether its arguments are a complete object, so that whatever comes is not of it."""
        return self.scanner.progress is Progress.WHOLE


class CallReader:
    """Reads the `tool_calls` of one choice's deltas."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    @property
    def called(self) -> bool:
        """Whether the client has been given a call."""
        return any(call.begun for call in self._calls)

    def read(self, delta: dict[str, Any]) -> tuple[ToolCallDelta, ...]:
        """What a delta brings. Raises TargetFailed for more calls than MAX_CALLS."""
        pieces = items(delta.get("tool_calls"))
        if not pieces and isinstance(delta.get("function_call"), dict):  # the field that tool_calls replaced
            pieces = [{"function": delta["function_call"]}]
        found = (self._read(mapping(piece)) for piece in pieces)
        return tuple(call for call in found if call is not None)

    def finish(self, *, cut: bool) -> tuple[ToolCallDelta, ...]:
        """The end: a call without arguments gets an empty object. `cut`: by a limit, where the rest stays as it is."""
        last = []
        for call in self._calls:
            rest = call.held.strip()
            if not call.begun or call.given or (cut and rest != NOTHING):
                rest = call.held if call.begun else ""
            elif rest in ("", NOTHING):
                rest = "{}"
            if rest:
                last.append(ToolCallDelta(call.index, arguments=rest))
        return tuple(last)

    def _read(self, piece: dict[str, Any]) -> ToolCallDelta | None:
        function = mapping(piece.get("function")) or piece
        id_, name = _string(piece.get("id")), _string(function.get("name"))
        arguments = _arguments(function.get("arguments"))
        index = count(piece.get("index"))
        call = self._pointed_at(index, id_)
        if call is None or _is_another(call, id_, name, arguments):
            call = self._begin(index)
        call.id, call.name = call.id or id_, call.name or name
        return self._give(call, arguments)

    def _pointed_at(self, index: int | None, id_: str) -> _Call | None:
        if index is not None:
            return self._by_index.get(index)
        known = [call for call in self._calls if id_ and call.id == id_] or self._calls
        return known[-1] if known else None

    def _begin(self, index: int | None) -> _Call:
        if len(self._calls) >= MAX_CALLS:
            problem = f"the upstream's answer holds more than {MAX_CALLS} tool calls"
            raise TargetFailed(problem, "oversized", healthy=True)
        call = _Call(len(self._calls))
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def _give(self, call: _Call, arguments: str) -> ToolCallDelta | None:
        if call.whole and call.given:  # what is said twice, or stands behind the object, is no part of it
            return None
        call.held += arguments
        if len(call.held) > MAX_HELD:
            raise TargetFailed("the upstream's answer calls a function without a name", "oversized", healthy=True)
        call.scanner.feed(arguments)
        begins = not call.begun and bool(call.name)
        if not begins and not call.begun:
            return None
        text = "" if not call.given and NOTHING.startswith(call.held.strip()) else call.held
        if text:
            call.held, call.given = "", True
        if begins:
            call.begun = True
            if not call.id or any(other.id == call.id for other in self._calls if other is not call):
                call.id = self._new_id()
            return ToolCallDelta(call.index, call.id, call.name, text)
        return ToolCallDelta(call.index, arguments=text) if text else None


def _is_another(call: _Call, id_: str, name: str, arguments: str) -> bool:
    """Whether a piece that points at a call belongs to a new one instead."""
    if name and call.name and name != call.name:
        return True
    if id_ and call.id and id_ != call.id:  # old servers give each piece an id, but the first one alone a name
        return bool(name) or call.whole
    if id_ and call.id:
        return False
    return bool(name and call.name and (call.whole or _starts_anew(call, arguments)))


def _starts_anew(call: _Call, arguments: str) -> bool:
    """A second call of a function without arguments, where the first had none either."""
    return not call.given and not call.held and not arguments


def _arguments(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None or value == {}:
        return ""  # an empty object may be a place that pieces follow into
    return orjson.dumps(value).decode()


def _string(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value[:MAX_NAME] if isinstance(value, str) else ""
