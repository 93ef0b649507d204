"""An answer for those who await it instead of being called: a receiver that holds what came, within bounds."""

from __future__ import annotations

import asyncio

from services.inference.engines.upstream.http.receiver import Headers, HttpCall, HttpFailure

MAX_HELD = 128 * 1024  # bytes that wait to be read; above, the upstream is held back


class HttpFailed(Exception):
    """The call failed."""

    def __init__(self, failure: HttpFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class AwaitedAnswer:
    """Implements HttpReceiver. `call` is set once it is sent."""

    def __init__(self) -> None:
        self.call: HttpCall
        self.status = 0
        self.headers: Headers = {}
        self._held: list[bytes] = []
        self._size = 0
        self._ended = False
        self._failure: HttpFailure | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def head(self) -> int:
        """Waits for the header: the status. Raises HttpFailed."""
        while not self.status:
            await self._more()
        return self.status

    async def read(self) -> bytes:
        """All that came since the last time; empty: the answer is over. Raises HttpFailed, after what came before."""
        while not self._held:
            if self._ended:
                return b""
            await self._more()
        data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        if self._size > MAX_HELD:
            self.call.resume()
        self._size = 0
        return data

    def on_head(self, status: int, headers: Headers) -> None:
        """See HttpReceiver."""
        self.status, self.headers = status, headers
        self._wake()

    def on_data(self, data: bytes) -> None:
        """See HttpReceiver."""
        self._held.append(data)
        self._size += len(data)
        if self._size > MAX_HELD:
            self.call.pause()
        self._wake()

    def on_end(self) -> None:
        """See HttpReceiver."""
        self._ended = True
        self._wake()

    def on_error(self, failure: HttpFailure) -> None:
        """See HttpReceiver."""
        self._failure = failure
        self._wake()

    async def _more(self) -> None:
        if self._failure is not None:
            raise HttpFailed(self._failure)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
