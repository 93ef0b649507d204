"""One request and its answer on a connection, with a way to write pieces of the answer without waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

UNKNOWN_LENGTH = 1 << 62  # bytes: more than any body


class EdgeCycle(RequestResponseCycle):
    """uvicorn's, and a Writer (writer.py)."""

    _look: Callable[[], None] | None = None
    _leave: Callable[[], None] | None = None

    @property
    def ready(self) -> bool:
        """See Writer."""
        return not self.flow.write_paused

    def when_ready(self, look: Callable[[], None]) -> None:
        """See Writer."""
        self._look = look

    def write(self, data: bytes) -> None:
        """See Writer. Pieces go to the transport at once, which writes those of one loop iteration together."""
        if self.disconnected or self.response_complete:
            return
        assert self.response_started
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked_encoding else data)

    def when_gone(self, leave: Callable[[], None]) -> None:
        """See Writer. What of the body was read has paused reading, perhaps, and an end is only seen by reading."""
        self.flow.resume_reading()
        if self.disconnected:
            leave()
        else:
            self._leave = leave

    def client_left(self) -> None:
        """The connection is lost, or its request was refused."""
        if self.response_complete:
            return
        self.disconnected = True
        self.message_event.set()
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()

    def takes_more(self) -> None:
        """The connection's buffer has emptied."""
        if self._look is not None and not self.response_complete:
            self._look()


class PlainCycle(EdgeCycle):
    """For HTTP/1.0 clients, nginx among them: they know no chunks, so the connection's end is the body's
    (RFC 9112 section 6.1)."""

    async def send(self, message: Any) -> None:
        if not self.response_started:
            if not any(name.lower() == b"content-length" for name, _ in message.get("headers", ())):
                self.chunked_encoding = False
                self.expected_content_length = UNKNOWN_LENGTH
        elif self.expected_content_length > UNKNOWN_LENGTH // 2 and not message.get("more_body", False):
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
