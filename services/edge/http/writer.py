"""What a streamed answer is written to, by plain functions that never wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Writer(Protocol):
    """The body of an answer that has begun. Its end is sent with Exchange.body, as that of any other."""

    @property
    def ready(self) -> bool:
        """False while the client does not read what it was sent. Then the writer should wait: what it writes all the
        same is kept here."""
        ...

    def when_ready(self, look: Callable[[], None]) -> None:
        """Calls `look` whenever the client takes more again."""
        ...

    def when_gone(self, leave: Callable[[], None]) -> None:
        """Calls `leave` when the client goes away before its answer is complete; at once when it has."""
        ...

    def write(self, data: bytes) -> None:
        """A piece of the body. Ignored once the client has left."""
        ...
