"""Tool calls in a model's text, found as it streams: <tool_call>{"name": ..., "arguments": {...}}</tool_call>.

The form is the one that Hermes, Qwen and the project's own model were trained on. A call begins when its tool's name is
known and its arguments have begun; they are given out as they come. So what was given of them is always the sound
beginning of a JSON object: whole, or visibly cut, by a limit or before the character at which the model left JSON. What
only looks like a call, or names a tool that was not given, stays text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection

from services.inference.domain.engine import ToolCallDelta
from services.inference.domain.json.scanner import ObjectScanner, Progress

OPEN, CLOSE = "<tool_call>", "</tool_call>"
HEAD = re.compile(
    r'[ \t\n\r]*\{[ \t\n\r]*"name"[ \t\n\r]*:[ \t\n\r]*'
    r'("(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*")'
    r'[ \t\n\r]*,[ \t\n\r]*"arguments"[ \t\n\r]*:[ \t\n\r]*(\{)?'
)
TAIL = re.compile(r"(\s*\}*)\s*")  # after the arguments: the call's own brace, and those that models write too many


class ToolCallParser:
    """Splits one choice's text into what is said and what is called; the same for any pieces the text comes in."""

    def __init__(self, tools: Collection[str], new_id: Callable[[], str], *, single: bool = False) -> None:
        """`single`: nothing is given out after the first call."""
        self._tools = tools
        self._new_id = new_id
        self._single = single
        self._held = ""  # text that is not decided yet
        self._gap = ""  # white space before the call that may be beginning
        self._phase: Callable[[], bool] = self._outside  # reads what is held; True: another phase goes on with the rest
        self._block = ObjectScanner()  # of the call
        self._arguments = ObjectScanner()
        self._block_read = 0  # how much of what is held the block's scanner knows
        self._begun = self._whole = 0  # calls
        self._shown = ""
        self._calls: list[ToolCallDelta] = []

    @property
    def called(self) -> bool:
        """Whether calls were given out and the arguments of every one are whole."""
        return 0 < self._begun == self._whole

    @property
    def done(self) -> bool:
        """Whether the one call that was wanted is whole, so that nothing more can come."""
        return self._single and self._whole > 0

    def feed(self, text: str) -> tuple[str, list[ToolCallDelta]]:
        """New text; returns what can be shown of it, and what it brings of calls."""
        self._held += text
        while self._phase():
            pass
        return self._taken()

    def finish(self, *, cut: bool) -> tuple[str, list[ToolCallDelta]]:
        """The text ended; `cut`: by a limit, so that the beginning of a call is not text."""
        held, self._held = self._held, ""
        if self._phase == self._outside:
            self._show(held)
        elif self._phase == self._head:
            match = HEAD.fullmatch(held)
            if cut and match is not None and json.loads(match[1]) in self._tools:
                self._begin(json.loads(match[1]))
            elif not cut or (held.strip() and not held.lstrip().startswith("{")):
                self._show(self._gap + OPEN + held)
        return self._taken()

    def _taken(self) -> tuple[str, list[ToolCallDelta]]:
        shown, calls = self._shown, self._calls
        self._shown, self._calls = "", []
        return shown, calls

    def _show(self, text: str) -> None:
        """White space between and after calls is layout, not answer."""
        if not self._begun or text.strip():
            self._shown += text

    def _outside(self) -> bool:
        before, tag, after = self._held.partition(OPEN)
        if not tag:
            keep = len(self._held) - self._undecided(self._held)
            self._show(self._held[:keep])
            self._held = self._held[keep:]
            return False
        said = before.rstrip()
        self._show(said)
        self._gap, self._held = before[len(said) :], after
        self._block, self._block_read = ObjectScanner(), 0
        self._phase = self._head
        return True

    @staticmethod
    def _undecided(text: str) -> int:
        """How many characters at the end could be white space and the beginning of a tag."""
        length = next((n for n in range(min(len(OPEN) - 1, len(text)), 0, -1) if OPEN.startswith(text[-n:])), 0)
        body = text[: len(text) - length]
        return length + len(body) - len(body.rstrip())

    def _head(self) -> bool:
        """From the opening tag to the arguments; a call that names them in another order is read as a whole."""
        match = HEAD.match(self._held)
        if match is not None and match[2]:
            if json.loads(match[1]) not in self._tools:
                return self._no_call()
            self._begin(json.loads(match[1]))
            self._held = self._held[match.start(2) :]
            self._arguments = ObjectScanner()
            self._phase = self._inside
            return True
        _, read = self._block.feed(self._held[self._block_read :])
        self._block_read += read
        if self._block.progress is Progress.BROKEN:
            return self._no_call()
        return self._block.progress is Progress.WHOLE and self._at_once()

    def _at_once(self) -> bool:
        try:
            call = json.loads(self._held[: self._block_read], strict=False)
            arguments = json.dumps(call.get("arguments", {}), allow_nan=False)
        except ValueError:  # numbers too large to be read
            return self._no_call()
        name = call.get("name")
        if not isinstance(name, str) or name not in self._tools or not arguments.startswith("{"):
            return self._no_call()
        self._begin(name)
        self._calls.append(ToolCallDelta(self._begun - 1, arguments=arguments))
        return self._end_call(self._block_read)

    def _no_call(self) -> bool:
        """The tag was text; what followed it may hold a call again."""
        self._show(self._gap + OPEN)
        self._phase = self._outside
        return True

    def _begin(self, name: str) -> None:
        self._calls.append(ToolCallDelta(self._begun, self._new_id(), name))
        self._begun += 1

    def _inside(self) -> bool:
        """The arguments."""
        sound, read = self._arguments.feed(self._held)
        if sound:
            self._calls.append(ToolCallDelta(self._begun - 1, arguments=sound))
        if self._arguments.progress is Progress.WHOLE:
            return self._end_call(read)
        self._held = self._held[read:]
        if self._arguments.progress is Progress.BROKEN:
            self._phase = self._spoilt
            return True
        return False

    def _end_call(self, read: int) -> bool:
        self._whole += 1
        self._held = self._held[read:]
        self._phase = self._ignore if self._single else self._tail
        return True

    def _tail(self) -> bool:
        """From the end of the arguments to the closing tag, which some models leave out."""
        match = TAIL.match(self._held)
        assert match is not None  # it matches nothing too
        rest = self._held[match.end() :]
        if rest.startswith(CLOSE):
            self._held = rest[len(CLOSE) :]
        elif CLOSE.startswith(rest):
            return False
        elif rest.startswith(",") and not match[1].strip():  # the call's object has more members
            self._phase = self._spoilt
            return True
        else:
            self._held = self._held[match.end(1) :]
        self._phase = self._outside
        return True

    def _spoilt(self) -> bool:
        """Nothing up to the closing tag is of use."""
        _, tag, after = self._held.partition(CLOSE)
        if not tag:
            self._held = self._held[-len(CLOSE) + 1 :]
            return False
        self._held, self._phase = after, self._outside
        return True

    def _ignore(self) -> bool:
        self._held = ""
        return False
