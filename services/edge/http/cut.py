"""Ending a wait from outside with an error of the edge's own."""

from __future__ import annotations

import asyncio
from types import TracebackType

from services.edge.http.errors import ApiError


class Cut:
    """`async with Cut() as cut:` waits in the block until it is done, or until cut(error) raises that error in it."""

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(None)
        self._error: ApiError | None = None
        self._ended = False

    def __call__(self, error: ApiError) -> None:
        """Ends the block at once; does nothing when it has ended."""
        if self._error is None and not self._ended:
            self._error = error
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> Cut:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended = True
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            assert self._error is not None
            raise self._error from None
