"""The events of one HTTP answer, pushed on as its bytes come. Implements HttpReceiver (http/receiver.py)."""

from __future__ import annotations

from collections.abc import Callable

from servicekit.errors import DomainError
from servicekit.sse import EventReader, EventTooLarge
from servicekit.timer_wheel import Deadline, TimerWheel
from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.http.receiver import Headers, HttpFailure
from services.inference.engines.upstream.refusals import failure_of_target, refusal_of
from services.inference.engines.upstream.whole import events_of

MAX_BODY = 8 * 1024 * 1024  # bytes of an answer that is no stream: a million token ids
MAX_ERROR = 64 * 1024  # bytes of an error's body
ERROR_BODY_TIMEOUT = 5.0  # seconds for an error's body
# An answer of 8 choices, each token with 20 rivals, takes 4 KiB a token; nothing of it is kept here.
MAX_ANSWER = 512 * 1024 * 1024  # bytes of one answer
MAX_SILENT = 2 * 1024 * 1024  # bytes without an event, and of events without output
OK = 200


class AnswerEvents:
    """Calls `on_events` with the events that came together, and `on_over` once, with what went wrong or None.

    What goes wrong is TargetFailed, or what refusals.py makes of another status than 200.
    """

    def __init__(
        self,
        timers: TimerWheel,
        on_events: Callable[[list[bytes]], None],
        on_over: Callable[[DomainError | None], None],
    ) -> None:
        self._timers = timers
        self._on_events = on_events
        self._on_over = on_over
        self._take: Callable[[bytes], None] = self._take_events
        self._finish: Callable[[], None] = self._finish_events
        self._events = EventReader()
        self._received = self._silent = 0  # bytes
        self._body = bytearray()  # of an answer that is no stream
        self._status = OK
        self._retry_after: str | None = None
        self._patience: Deadline | None = None
        self._is_over = False

    def on_head(self, status: int, headers: Headers) -> None:
        """See HttpReceiver."""
        if status != OK:
            self._status = status
            self._retry_after = headers[b"retry-after"].decode("latin-1") if b"retry-after" in headers else None
            self._take, self._finish = self._take_error, self._refuse
            self._patience = self._timers.start(ERROR_BODY_TIMEOUT, self._refuse)
        elif headers.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            self._over(TargetFailed("the upstream's answer is compressed, which was not asked for", "protocol"))
        elif headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == b"application/json":
            self._take, self._finish = self._take_whole, self._finish_whole

    def on_data(self, data: bytes) -> None:
        """See HttpReceiver."""
        if not self._is_over:
            self._take(data)

    def on_end(self) -> None:
        """See HttpReceiver."""
        if not self._is_over:
            self._finish()

    def on_error(self, failure: HttpFailure) -> None:
        """See HttpReceiver."""
        if self._status != OK:  # what came of its body may say enough
            self._refuse()
        else:
            self._over(failure_of_target(failure))

    def leave(self) -> None:
        """Nothing more is wanted."""
        self._is_over = True
        if self._patience is not None:
            self._patience.cancel()

    def _over(self, error: DomainError | None) -> None:
        if not self._is_over:
            self.leave()
            self._on_over(error)

    def _take_events(self, data: bytes) -> None:
        self._received += len(data)
        self._silent += len(data)
        if self._received > MAX_ANSWER or self._silent > MAX_SILENT:
            self._over(TargetFailed("the upstream's answer is too large", "oversized"))
            return
        try:
            events = self._events.feed(data)
        except EventTooLarge as error:
            self._over(TargetFailed(f"the upstream sent too much at once: {error}", "protocol"))
            return
        if events:
            self._silent = 0
            self._on_events(events)

    def _finish_events(self) -> None:
        if events := self._events.finish():
            self._on_events(events)
        self._over(None)

    def _take_whole(self, data: bytes) -> None:
        self._body += data
        if len(self._body) > MAX_BODY:
            self._over(TargetFailed("the upstream's answer is too large", "protocol"))

    def _finish_whole(self) -> None:
        try:
            events = events_of(bytes(self._body))
        except TargetFailed as error:
            self._over(error)
            return
        except (TypeError, ValueError):  # nested too deeply to be written again, say
            self._over(TargetFailed("the upstream sent an answer that cannot be read", "protocol"))
            return
        self._on_events(events)
        self._over(None)

    def _take_error(self, data: bytes) -> None:
        self._body += data
        if len(self._body) >= MAX_ERROR:
            self._refuse()

    def _refuse(self) -> None:
        self._over(refusal_of(self._status, bytes(self._body[:MAX_ERROR]), self._retry_after))
