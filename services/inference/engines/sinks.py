"""Sinks (domain/engine.py) that stand between an engine and what takes its output."""

from __future__ import annotations

from collections.abc import Sequence

from services.inference.domain.engine import Delta, Sink, Source


class Passing:
    """Passes everything on; what is derived from it changes a part. `started`: output came."""

    def __init__(self, below: Sink) -> None:
        self.below = below
        self.started = False

    def on_deltas(self, deltas: Sequence[Delta]) -> None:
        """See Sink."""
        self.started = True
        self.below.on_deltas(deltas)

    def on_withheld(self, output_tokens: int) -> None:
        """See Sink."""
        self.below.on_withheld(output_tokens)

    def attach(self, source: Source) -> None:
        """See Sink."""
        self.below.attach(source)

    def detach(self, source: Source) -> None:
        """See Sink."""
        self.below.detach(source)
