"""Answers to HTTP/1.0 clients, nginx among them: they know no chunks, so the connection's end is the body's."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

UNKNOWN_LENGTH = 1 << 62  # bytes: more than any body


class PlainCycle(RequestResponseCycle):
    """One request and its answer, which is never chunked (RFC 9112 section 6.1)."""

    async def send(self, message: Any) -> None:
        if not self.response_started:
            if not any(name.lower() == b"content-length" for name, _ in message.get("headers", ())):
                self.chunked_encoding = False
                self.expected_content_length = UNKNOWN_LENGTH
        elif self.expected_content_length > UNKNOWN_LENGTH // 2 and not message.get("more_body", False):
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)
