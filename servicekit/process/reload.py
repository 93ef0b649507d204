"""SIGHUP means: read the configuration again. What runs is not disturbed."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

from servicekit.errors import StartupError
from servicekit.observability.logging import get_logger

log = get_logger(__name__)


class Reloads:
    """Calls `reload` once for the signals that came since it last began; never two at a time."""

    def __init__(self, reload: Callable[[], Awaitable[None]]) -> None:
        """`reload` raises StartupError when what it read is wrong, and has then changed nothing."""
        self._reload = reload
        self._asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked.set)

    async def run(self) -> None:
        """Serves signals until it is cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._reload()
            except StartupError as error:
                log.error("reload_refused", problem=str(error))
            except Exception:
                log.exception("reload_failed")
