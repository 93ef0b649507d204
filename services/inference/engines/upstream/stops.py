"""Stop sequences held to here: some servers ignore `stop`, or leave the sequence in the text.

Text is given out as soon as no stop sequence can begin in it, so a server that stops by itself loses nothing.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from services.inference.domain.engine import TokenLogprob


@dataclass(frozen=True, slots=True)
class Piece:
    """What one chunk brought of a choice's text."""

    text: str = ""
    tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


class StopCutter:
    """Cuts one choice's text before the first stop sequence. `cut`: one was met, and nothing more is given out."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.cut = False
        self.idle = not any(stops)  # there is nothing to look for
        self._stops = tuple(stop for stop in stops if stop)
        self._held: deque[Piece] = deque()

    def feed(self, piece: Piece) -> Piece:
        """The next piece; returns what can be given out now."""
        if not self._stops:
            return piece
        self._held.append(piece)
        text = "".join(held.text for held in self._held)
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.cut = True
            return self._up_to(min(places))
        return self._released(len(text) - self._undecided(text))

    def finish(self) -> Piece:
        """The text has ended: what was held back was no stop sequence."""
        whole = _joined(self._held)
        self._held.clear()
        return whole

    def _undecided(self, text: str) -> int:
        """How many characters at the end may be the beginning of a stop sequence."""
        longest = max(map(len, self._stops)) - 1
        ends = range(min(longest, len(text)), 0, -1)
        return next((size for size in ends if any(stop.startswith(text[-size:]) for stop in self._stops)), 0)

    def _released(self, safe: int) -> Piece:
        """The pieces that lie within the first `safe` characters, whole ones only: a token is never split."""
        out: list[Piece] = []
        while self._held and len(self._held[0].text) <= safe:
            safe -= len(self._held[0].text)
            out.append(self._held.popleft())
        return _joined(out)

    def _up_to(self, place: int) -> Piece:
        """What stands before the stop sequence, with the tokens of the pieces that it comes from."""
        out: list[Piece] = []
        for piece in self._held:
            if place <= 0 and out:
                break
            if place <= 0 and piece.text:
                break
            out.append(Piece(piece.text[:place], _share(piece, place), _within(piece.logprobs, place)))
            place -= len(piece.text)
        self._held.clear()
        return _joined(out)


def _share(piece: Piece, characters: int) -> int:
    """The tokens of a piece's beginning: what lies behind the stop sequence is not charged."""
    if characters >= len(piece.text):
        return piece.tokens
    return math.ceil(piece.tokens * characters / len(piece.text))


def _within(logprobs: tuple[TokenLogprob, ...], characters: int) -> tuple[TokenLogprob, ...]:
    kept = []
    for item in logprobs:
        characters -= len(item.token)
        if characters < 0:
            break
        kept.append(item)
    return tuple(kept)


def _joined(pieces: Sequence[Piece] | deque[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    logprobs = tuple(item for piece in pieces for item in piece.logprobs)
    return Piece("".join(piece.text for piece in pieces), sum(piece.tokens for piece in pieces), logprobs)
