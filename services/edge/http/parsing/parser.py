"""Parses a body where that hurts nobody: in place what takes a moment, in another process all else (G13)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import orjson

from servicekit.observability.logging import get_logger
from services.edge.http.errors import ApiError
from services.edge.http.limits import Limits
from services.edge.http.parsing import metrics
from services.edge.http.parsing.body_format import Body, BodyFormat, Parsed
from services.edge.http.parsing.frames import TOO_HEAVY, Outcome
from services.edge.http.parsing.pool import BodyUnreadable, ParserPool, PoolNumbers
from services.edge.http.parsing.process import Answer
from services.edge.http.parsing.scan import predicted_seconds

log = get_logger(__name__)

MAX_IN_PLACE_BYTES: Final = 256 * 1024
MAX_IN_PLACE_SECONDS: Final = 0.005  # that the event loop may be silent


class BodyParser:
    """One for an edge worker. Rejected work is charged to the account that sent it."""

    def __init__(self, limits: Limits, formats: Sequence[BodyFormat[Any]], numbers: PoolNumbers | None = None) -> None:
        """Reads bodies of these formats."""
        self._limits = limits
        self._pool = ParserPool(limits.request, [each.name for each in formats], numbers)

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return self._pool.pids

    def start(self) -> None:
        """Starts the processes in the background."""
        self._pool.start()

    async def parse(self, body: Body, account_id: str, form: BodyFormat[Parsed]) -> Parsed:
        """Raises ApiError: 400 with what is wrong, 429 or 503 when the pool has no room."""
        if len(body) <= MAX_IN_PLACE_BYTES and predicted_seconds(body) < MAX_IN_PLACE_SECONDS:
            return self._in_place(body, account_id, form)
        try:
            answer = await self._pool.parse(body, account_id, form.name)
        except BodyUnreadable as error:
            self._charge(account_id, error.seconds)
            raise ApiError.invalid(TOO_HEAVY, code="body_unreadable") from None
        metrics.IN_POOL.observe(answer.cpu)
        return self._accepted(answer, account_id, form)

    async def close(self) -> None:
        """Ends the processes."""
        await self._pool.close()

    def _in_place(self, body: Body, account_id: str, form: BodyFormat[Parsed]) -> Parsed:
        began = time.thread_time()
        try:
            return form.parse(body, self._limits.request)
        except ApiError:
            self._charge(account_id, time.thread_time() - began)
            raise
        finally:
            metrics.IN_PLACE.observe(time.thread_time() - began)

    def _accepted(self, answer: Answer, account_id: str, form: BodyFormat[Parsed]) -> Parsed:
        if answer.outcome is Outcome.ACCEPTED:
            return form.unpack(answer.document, answer.message)
        document = orjson.loads(answer.document)
        self._charge(account_id, answer.cpu)
        if answer.outcome is Outcome.REJECTED:
            raise ApiError.invalid(document["message"], param=document["param"], code=document["code"])
        log.error("body_parser_failed", error_type=document["error"])
        raise ApiError.internal()

    def _charge(self, account_id: str, seconds: float) -> None:
        self._limits.spending.charge_account(account_id, seconds)
