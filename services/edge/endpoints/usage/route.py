"""GET /v1/usage: exactly the reference's shape. Days are UTC; the default is the last 30, today included."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from servicekit.clock import to_datetime
from services.edge.endpoints.access import PlatformOf, Reader
from services.edge.endpoints.endpoint import KEYED, Endpoint
from services.edge.endpoints.usage.schema import UsageDay, UsageModel, UsageReport, UsageTotals
from services.edge.http.errors import ApiError
from services.edge.peers.quota.reports import AccountUsage

router = APIRouter(tags=["usage"])

ISO_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _written_as_day(text: str) -> str:
    """pydantic alone would take a number too, as seconds since 1970."""
    if not ISO_DAY.fullmatch(text):
        raise PydanticCustomError("day", "must be a day as YYYY-MM-DD")
    return text


Day = Annotated[date, BeforeValidator(_written_as_day)]

DEFAULT_DAYS = 30
MAX_DAYS = 366


@router.get("/v1/usage", summary="Balance and consumption, by day and by model")
async def get_usage(
    caller: Reader,
    platform: PlatformOf,
    days: Annotated[int | None, Query(ge=1, le=365, description="The last N days, today included")] = None,
    start: Annotated[Day | None, Query(description="First day, UTC; instead of days")] = None,
    end: Annotated[Day | None, Query(description="Last day, UTC; default: today")] = None,
) -> UsageReport:
    today = to_datetime(platform.clock.now_us()).date()
    first, last = range_of(today, days, start, end)
    usage = await platform.gateway.usage(caller, first.isoformat(), last.isoformat())
    return _report(usage)


def range_of(today: date, days: int | None, start: date | None, end: date | None) -> tuple[date, date]:
    """The days asked for, both inclusive. Raises ApiError 400 when they contradict each other."""
    if days is not None and (start is not None or end is not None):
        raise ApiError.invalid("Send either 'days' or 'start' and 'end', not both.", param="days")
    last = end or today
    try:
        first = start or last - timedelta(days=(days or DEFAULT_DAYS) - 1)
    except OverflowError:
        raise ApiError.invalid("Invalid 'end': too early.", param="end") from None
    if first > last:
        raise ApiError.invalid("'start' must not be after 'end' (or today).", param="start")
    if (last - first).days >= MAX_DAYS:
        raise ApiError.invalid(f"The range must not be longer than {MAX_DAYS} days.", param="start")
    return first, last


def _report(usage: AccountUsage) -> UsageReport:
    return UsageReport(
        balance=usage.balance,
        totals=UsageTotals(credits=usage.credits, tokens=usage.tokens, requests=usage.requests),
        daily=[UsageDay(day=day.day, credits=day.credits, requests=day.requests) for day in usage.days],
        by_model=[UsageModel(model=model.model, credits=model.credits) for model in usage.models],
    )


ENDPOINT = Endpoint(router, {"/v1/usage": {400: "The range of days is not valid", **KEYED}})
