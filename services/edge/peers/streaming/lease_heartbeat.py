"""Heartbeats of one stream: when the last answered one was sent, so how long the peer still counts us as alive."""

from __future__ import annotations

from servicekit.clock import Clock


class Heart:
    """Counts from *sending*: what the peer counts from receiving always ends later (auth.proto, quota.proto).

    One life for each stream; `lifetime` and `interval` are seconds as the peer's Welcome told them.
    """

    def __init__(self, clock: Clock, hello_sent: float, lifetime: float, interval: float) -> None:
        self.interval = interval
        self.lapses_at = hello_sent + lifetime
        self._clock = clock
        self._lifetime = lifetime
        self._asked = 0  # heartbeats that were due
        self._sent: dict[int, float] = {}
        self._last_sent = 0
        self._answered = 0

    def ask(self) -> None:
        """One interval is over: the next message is a heartbeat."""
        self._asked += 1

    def next(self) -> int | None:
        """The number to send now, or None when no heartbeat is due. Several that piled up are one."""
        if self._last_sent >= self._asked:
            return None
        self._last_sent = self._asked
        self._sent[self._last_sent] = self._clock.monotonic()
        return self._last_sent

    def answer(self, number: int) -> None:
        """The peer repeated this number. Numbers that were never sent say nothing."""
        sent = self._sent.get(number)
        if sent is None:
            return
        for older in [each for each in self._sent if each <= number]:
            del self._sent[older]
        self._answered = max(self._answered, number)
        self.lapses_at = max(self.lapses_at, sent + self._lifetime)

    @property
    def silent(self) -> bool:
        """Two intervals went by without an answer: the stream is broken, whatever the socket says."""
        return self._asked - self._answered >= 3
