"""The tokens of a text that grows, at a cost that does not grow with it."""

from __future__ import annotations

from services.inference.engines.upstream.tokens.encodings import Encoding

WINDOW = 128  # characters that are counted anew with each piece
KEPT = 32  # of these stay when the window moves on: hardly a token's end depends on what comes so much later
BREAKS = " \n\t"
SLICE = 32 * 1024  # characters
MAX_RUN = 1024  # characters that the window may grow to within white space, of which some tokens hold more than 100


def count_long(encoding: Encoding, text: str) -> int:
    """The tokens of a text of any length, in slices: a mebibyte at once takes up to 400 MiB of memory."""
    if len(text) <= SLICE:
        return encoding.count(text)
    running = RunningCount(encoding)
    for start in range(0, len(text), SLICE):
        running.add(text[start : start + SLICE])
    return running.tokens


class RunningCount:
    """Counts one text as it comes. The count of what is behind the window is settled.

    Where a word begins for certain, the window does too. In a text without such places it moves when it is full, and
    the new one overlaps the old: what the overlap alone counts is subtracted, so that the sum stays the same whatever
    the cut does to the token it falls into.
    """

    __slots__ = ("_encoding", "_settled", "_window", "tokens")

    def __init__(self, encoding: Encoding) -> None:
        self.tokens = 0
        self._encoding = encoding
        self._settled = 0
        self._window = ""

    def add(self, text: str) -> None:
        """More text. The count can become smaller by a token or two, when the new piece completes a longer token."""
        encoding, window = self._encoding, self._window + text
        if encoding.splits_words and (start := _last_word(window)):
            self._settled += encoding.count_short(window[:start])
            window = window[start:]
        self._window = window
        self.tokens = self._settled + encoding.count_short(window)
        if len(window) > WINDOW and not self._in_a_run():
            self._window = window[self._cut() :]
            self._settled = self.tokens - encoding.count(self._window)

    def _in_a_run(self) -> bool:
        return len(self._window) < MAX_RUN and self._window[-KEPT:].isspace()

    def _cut(self) -> int:
        """Where the next window begins: at the last white space that leaves KEPT characters, else at a token."""
        latest = len(self._window) - KEPT
        for place in range(latest, max(0, latest - KEPT), -1):
            if self._window[place] in BREAKS and self._window[place - 1] not in BREAKS:
                return place
        return self._encoding.last_start(self._window, latest)


def _last_word(text: str) -> int:
    """Where the space before the last word stands, with something else than white space before it; 0: nowhere.

    All bundled encodings split a text there before they merge anything (encodings.py, _PATTERNS).
    """
    space = text.rfind(" ", 1, -1)
    while space > 0:
        if text[space + 1].isalpha() and not text[space - 1].isspace():
            return space
        space = text.rfind(" ", 1, space)
    return 0
