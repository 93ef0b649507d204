"""Housekeeping: makes room for charges to come, and drops those that are older than the operator keeps them."""

from __future__ import annotations

import asyncio

from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger
from services.quota.domain.store import Store

log = get_logger(__name__)

AFTER_OUTAGE = 60.0  # seconds


async def run_housekeeping(store: Store, months: int | None) -> None:
    """Runs until cancelled, as often as the store asks for; an outage of the database is waited out.

    `months` is how many whole months of charges are kept beside the current one; None: all.
    """
    while True:
        try:
            pause = await store.do_housekeeping(months)
        except DatabaseUnavailable:
            pause = AFTER_OUTAGE
        except Exception as error:
            # Requests do not need any of it: log the error and try again.
            log.exception("housekeeping_failed", error=type(error).__name__)
            pause = AFTER_OUTAGE
        await asyncio.sleep(pause)
