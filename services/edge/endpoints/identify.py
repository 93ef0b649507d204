"""Whose request it is, and how often one source address may ask with a key that is not valid."""

from __future__ import annotations

import time

from services.edge.http.errors import ApiError
from services.edge.http.exchange import Exchange
from services.edge.http.limits import Limits, Sender
from services.edge.peers.errors import Unauthenticated
from services.edge.serving.gateway import Caller, Gateway


async def identify(exchange: Exchange, gateway: Gateway, budget: Limits) -> Caller:
    """The caller. Raises Unauthenticated, Unavailable, and ApiError 429 `refused_too_often` (of the address).

    A key that this worker knows costs a look into a table and is never refused for what others of its address did.
    """
    started = time.thread_time()
    try:
        authorization = exchange.authorization()
        caller = gateway.remembered(authorization)
    except (ApiError, Unauthenticated):  # ApiError: several Authorization headers
        _count(exchange, budget, started)
        raise
    if caller is None:
        caller = await _look_up(exchange, gateway, budget, authorization)
    return caller


async def _look_up(exchange: Exchange, gateway: Gateway, budget: Limits, authorization: str | None) -> Caller:
    source = exchange.source(budget.sources)
    try:
        budget.spending.check(Sender.source(source))
        budget.unauthorized.take(source)
    except ApiError as refusal:
        return await _look_up_in_turn(source, gateway, budget, authorization, refusal)
    valid = True  # or at least not known to be invalid
    try:
        return await gateway.authenticate(authorization)
    except Unauthenticated:
        valid = False
        raise
    finally:
        if valid:
            budget.unauthorized.give_back(source)


async def _look_up_in_turn(
    source: str, gateway: Gateway, budget: Limits, authorization: str | None, refusal: ApiError
) -> Caller:
    """The caller of a key that came from an address with too many wrong ones; a wrong one is refused as told."""
    async with budget.unauthorized.turn(source):
        try:
            return await gateway.authenticate(authorization)
        except Unauthenticated:
            raise refusal from None


def _count(exchange: Exchange, budget: Limits, started: float) -> None:
    """A 401 that needed no look-up. Raises ApiError 429 instead of it when the address had too many."""
    source = exchange.source(budget.sources)
    budget.spending.check(Sender.source(source))
    budget.unauthorized.take(source)
    budget.spending.charge(Sender.source(source), time.thread_time() - started)
