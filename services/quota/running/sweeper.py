"""Ends the holds of edges that are gone, and gives back what they charged for answers that they never wrote (G3).

Starts a lease after the process did: when quota itself was away, edges get that long to come back and settle exactly.
Two replicas may sweep at once; each hold still ends once, since Expire is decided under its account's lock.
"""

from __future__ import annotations

import asyncio

from servicekit.errors import DatabaseUnavailable
from servicekit.observability.logging import get_logger
from services.quota import metrics
from services.quota.domain.operations import Expire, RefundAnswer
from services.quota.domain.outcomes import Refused, Settled
from services.quota.domain.store import Store
from services.quota.running.group_commit import Writer

log = get_logger(__name__)

MAX_AT_ONCE = 1024
CONFIRMATION_GRACE = 30.0  # seconds after a lease lapsed until its unconfirmed charges are given back


async def sweep(store: Store, writer: Writer) -> int:
    """One pass; returns how many holds it ended. Raises DatabaseUnavailable."""
    lapsed = await store.lapsed(MAX_AT_ONCE)
    outcomes = await asyncio.gather(*(writer.do(Expire(hold_id)) for hold_id in lapsed))
    if lapsed:
        expired = [outcome for outcome in outcomes if not isinstance(outcome, Refused)]
        metrics.EXPIRED.inc(len(expired))
        charged = sum(outcome.credits for outcome in outcomes if isinstance(outcome, Settled))
        log.warning("holds_expired", holds=len(lapsed), credits=charged)
    return len(lapsed)


async def refund_unconfirmed(store: Store, writer: Writer) -> int:
    """One pass; returns how many answers it looked at. Raises DatabaseUnavailable."""
    unconfirmed = await store.unconfirmed(CONFIRMATION_GRACE, MAX_AT_ONCE)
    outcomes = await asyncio.gather(*(writer.do(RefundAnswer(hold_id)) for hold_id in unconfirmed))
    if unconfirmed:
        refunded = [outcome.credits for outcome in outcomes if isinstance(outcome, Settled)]
        metrics.ANSWERS_REFUNDED.inc(len(refunded))
        metrics.ANSWER_REFUND_CREDITS.inc(sum(refunded))
        log.warning("answers_refunded", answers=len(refunded), credits=sum(refunded))
    return len(unconfirmed)


async def run_sweeper(store: Store, writer: Writer, *, lease: float, interval: float) -> None:
    """Sweeps every interval seconds until cancelled; an outage of the database is waited out."""
    await asyncio.sleep(lease)
    while True:
        try:
            looked = max(await sweep(store, writer), await refund_unconfirmed(store, writer))
            more = looked == MAX_AT_ONCE
        except DatabaseUnavailable:
            more = False
        except Exception:
            log.exception("sweep_failed")  # a defect; requests go on, and the next look tries again
            more = False
        if not more:
            await asyncio.sleep(interval)
