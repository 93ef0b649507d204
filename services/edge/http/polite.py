"""What an answer is written to, and how little of it waits in this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

# Bytes that may wait in this process, and as many in the kernel, for a client that does not read. Then its answer
# waits, and the engine with it. What waits here was charged, so it must be little (G4): alone, the kernel takes MB.
UNSENT_MOST = 4096


class PoliteTransport:
    """The connection's transport, but closing hears the client out."""

    def __init__(self, transport: asyncio.Transport, close: Callable[[], None]) -> None:
        self.write = transport.write
        self.is_closing = transport.is_closing
        self.close = close


def keep_little_unsent(transport: asyncio.Transport) -> None:
    """Bounds what waits for a client that does not read."""
    transport.set_write_buffer_limits(high=UNSENT_MOST)
    raw = transport.get_extra_info("socket")
    if raw is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_MOST)
