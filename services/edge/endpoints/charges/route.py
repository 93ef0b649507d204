"""GET /v1/usage/charges: the receipts that explain GET /v1/usage to the credit, newest first, page by page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from services.edge.endpoints.access import PlatformOf, Reader
from services.edge.endpoints.charges.schema import ChargeList, ChargeObject
from services.edge.endpoints.endpoint import KEYED, Endpoint
from services.edge.peers.quota.reports import Receipt

router = APIRouter(tags=["usage"])


@router.get("/v1/usage/charges", summary="Receipts, newest first")
async def list_charges(
    caller: Reader,
    platform: PlatformOf,
    limit: Annotated[int, Query(ge=1, le=100, description="Receipts in one page")] = 20,
    after: Annotated[str, Query(max_length=64, description="The id of the last receipt of the page before")] = "",
) -> ChargeList:
    page = await platform.gateway.charges(caller, limit, after)
    receipts = [_shown(receipt) for receipt in page.receipts]
    return ChargeList(
        data=receipts,
        first_id=receipts[0].id if receipts else None,
        last_id=receipts[-1].id if receipts else None,
        has_more=page.more,
    )


def _shown(receipt: Receipt) -> ChargeObject:
    return ChargeObject(
        id=receipt.id,
        state=receipt.state,
        created=receipt.created,
        ended=receipt.ended,
        key_id=receipt.key_id,
        model=receipt.model,
        prompt_tokens=receipt.prompt_tokens,
        completion_tokens=receipt.output_tokens,
        input_price=receipt.input_price,
        output_price=receipt.output_price,
        credits=receipt.credits,
        uncollected_credits=receipt.uncollected_credits,
        refunded_credits=receipt.refunded_credits,
        estimated=receipt.estimated,
    )


ENDPOINT = Endpoint(router, {"/v1/usage/charges": {400: "`after` is not the id of a charge of this account", **KEYED}})
