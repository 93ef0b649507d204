"""Questions that are asked together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Batch(Generic[Question, Answer]):
    """One call at a time: questions that come while it runs go together into the next, whose answer is for all.

    `gap` is the least number of seconds from one call's end to the next one's start.
    """

    def __init__(self, call: Callable[[Sequence[Question]], Awaitable[Answer]], gap: float = 0.0) -> None:
        self._call = call
        self._gap = gap
        self._waiting: list[Question] = []
        self._answer: asyncio.Future[Answer] | None = None
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, question: Question) -> Answer:
        """The answer of a call that began after this one. Raises what the call raises."""
        self._waiting.append(question)
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
        answer = self._answer
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        # The call belongs to every question in it, so cancelling one must not cancel the others.
        return await asyncio.shield(answer)

    async def _work(self) -> None:
        while (answer := self._answer) is not None:
            questions, self._waiting, self._answer = self._waiting, [], None
            try:
                answer.set_result(await self._call(questions))
            except BaseException as error:
                answer.set_exception(error)
                answer.exception()  # counts as retrieved, though every caller may be gone
                if not isinstance(error, Exception):
                    raise
            await asyncio.sleep(self._gap)
