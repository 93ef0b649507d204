"""When the last byte of an answer has left this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

FIRST_LOOK, LONGEST_PAUSE = 0.002, 0.05  # seconds between two looks at what is unsent; transports do not report it

WhenWritten = Callable[[Callable[[], None]], None]


def when_written(transport: asyncio.Transport, done: Callable[[], None]) -> None:
    """Calls `done` once nothing that was written waits here any more: the kernel has it, or the connection is gone.

    A client that stops reading keeps this waiting until its connection is aborted (Bounds.write_timeout). Small answers
    are in the kernel at once, or with the loop's next turn.
    """
    if transport.get_write_buffer_size() == 0:
        done()
    else:
        asyncio.get_running_loop().call_soon(_look, transport, done, FIRST_LOOK)


def _look(transport: asyncio.Transport, done: Callable[[], None], pause: float) -> None:
    if transport.get_write_buffer_size() == 0:
        done()
    else:
        asyncio.get_running_loop().call_later(pause, _look, transport, done, min(2 * pause, LONGEST_PAUSE))
