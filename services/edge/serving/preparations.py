"""How many prompts of one account are prepared at once: an engine renders and counts each before anything is paid."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Turn:
    """One request's place. `granted` when its prompt may be prepared now."""

    __slots__ = ("_account_id", "_preparations", "_wake", "granted")

    def __init__(self, preparations: Preparations, account_id: str, wake: Callable[[], None]) -> None:
        self._preparations = preparations
        self._account_id = account_id
        self._wake = wake
        self.granted = False

    def grant(self) -> None:
        """Its turn has come."""
        self.granted = True
        self._wake()

    def end(self) -> None:
        """Prepared, refused or given up; the next one has its turn. Safe to call again."""
        self._preparations.leave(self._account_id, self)


def _nobody_counts(account_id: str, seconds: float) -> None:
    pass


class Preparations:
    """At most `at_once` for an account, the others wait in order; their number is bounded by the open answers.

    `charge` is called with an account's id and the seconds of CPU that a prompt cost whose client could have known that
    it would be refused.
    """

    def __init__(self, at_once: int = 3, charge: Callable[[str, float], None] = _nobody_counts) -> None:
        self.charge = charge
        self._at_once = at_once
        self._running: dict[str, set[Turn]] = {}
        self._waiting: dict[str, deque[Turn]] = {}

    @property
    def running(self) -> int:
        """Prompts being prepared now, of all accounts."""
        return sum(len(turns) for turns in self._running.values())

    def enter(self, account_id: str, wake: Callable[[], None]) -> Turn:
        """A place; `wake` is called when it is granted later than at once."""
        turn = Turn(self, account_id, wake)
        running = self._running.setdefault(account_id, set())
        if len(running) < self._at_once:
            running.add(turn)
            turn.granted = True
        else:
            self._waiting.setdefault(account_id, deque()).append(turn)
        return turn

    def leave(self, account_id: str, turn: Turn) -> None:
        """See Turn.end."""
        running = self._running.get(account_id, set())
        waiting = self._waiting.get(account_id)
        if turn not in running:
            if waiting is not None and turn in waiting:
                waiting.remove(turn)
            return
        running.discard(turn)
        if waiting:
            following = waiting.popleft()
            running.add(following)
            following.grant()
        if not waiting:
            self._waiting.pop(account_id, None)
        if not running:
            del self._running[account_id]
