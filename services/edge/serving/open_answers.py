"""The answers being opened or running on this edge worker, by key; what ends them from outside finds them here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from servicekit.timer_wheel import TimerWheel
from services.edge.peers.auth.principals import Principal
from services.edge.peers.errors import Failure
from services.edge.serving import metrics
from services.edge.serving.errors import DeadlineExceeded, TooManyAnswers


class Endable(Protocol):
    """One answer as the registry sees it."""

    principal: Principal
    digest: bytes

    def end(self, error: Failure) -> None:
        """Ends it with an error, at once and without waiting."""
        ...


class Running:
    """Bounds and finds the answers of accounts and keys."""

    def __init__(self) -> None:
        self._by_account: dict[str, set[Endable]] = {}
        self._by_digest: dict[bytes, set[Endable]] = {}

    def enter(self, answer: Endable) -> None:
        """Counts one in. Raises TooManyAnswers at the account's bound, which takes no place in its rate window."""
        principal = answer.principal
        answers = self._by_account.setdefault(principal.account_id, set())
        if len(answers) >= principal.max_open_streams:
            raise TooManyAnswers(principal.max_open_streams)
        answers.add(answer)
        self._by_digest.setdefault(answer.digest, set()).add(answer)
        metrics.ANSWERS_OPEN.inc()

    def leave(self, answer: Endable) -> None:
        """Counts it out; safe to call again."""
        answers = self._by_account.get(answer.principal.account_id)
        if answers is None or answer not in answers:
            return
        answers.discard(answer)
        metrics.ANSWERS_OPEN.dec()
        if not answers:
            del self._by_account[answer.principal.account_id]
        of_digest = self._by_digest[answer.digest]
        of_digest.discard(answer)
        if not of_digest:
            del self._by_digest[answer.digest]

    def __len__(self) -> int:
        return sum(len(answers) for answers in self._by_account.values())

    def digests(self) -> Iterable[bytes]:
        """The digests of the keys in use."""
        return set(self._by_digest)

    def end_key(self, account_id: str, key_id: str, error: Callable[[], Failure]) -> None:
        """Ends the answers of a key; of the whole account when key_id is empty."""
        for answer in list(self._by_account.get(account_id, ())):
            if not key_id or answer.principal.key_id == key_id:
                answer.end(error())

    def end_digest(self, digest: bytes, error: Callable[[], Failure]) -> None:
        """Ends the answers opened with this digest."""
        for answer in list(self._by_digest.get(digest, ())):
            answer.end(error())

    def end_all(self, error: Callable[[], Failure]) -> None:
        """Ends every answer."""
        for answer in self._all():
            answer.end(error())

    def _all(self) -> list[Endable]:
        return [answer for answers in self._by_account.values() for answer in answers]


class OpenRequest:
    """One admitted request's entry, from its admission to its end. An end from outside, or its deadline, goes to the
    part of the request's life that it is in: first the opening, then the answer."""

    def __init__(
        self, running: Running, principal: Principal, digest: bytes, seconds_left: float, timers: TimerWheel
    ) -> None:
        """Raises TooManyAnswers at the account's bound."""
        self.principal = principal
        self.digest = digest
        self._running = running
        self._end: Callable[[Failure], None] | None = None
        running.enter(self)
        self._deadline = timers.start(seconds_left, self._expire)

    def concerns(self, end: Callable[[Failure], None]) -> None:
        """What ends the request calls this from now on."""
        self._end = end

    def end(self, error: Failure) -> None:
        """See Endable."""
        if self._end is not None:
            self._end(error)

    def leave(self) -> None:
        """The request has ended; safe to call again."""
        self._end = None
        self._deadline.cancel()
        self._running.leave(self)

    def _expire(self) -> None:
        self.end(DeadlineExceeded())


class Upload:
    """A request whose body is still arriving: it takes one of the account's places, and ends with its key."""

    def __init__(self, running: Running, principal: Principal, digest: bytes, end: Callable[[Failure], None]) -> None:
        self.principal = principal
        self.digest = digest
        self._running = running
        self._end = end

    def end(self, error: Failure) -> None:
        """See Endable."""
        self._end(error)

    def __enter__(self) -> Upload:
        self._running.enter(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.leave(self)
