"""GET /v1/usage/charges: the receipts that explain GET /v1/usage to the credit, newest first, page by page."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from muhgpt.quota.v1 import quota_pb2
from services.edge.endpoints.access import PlatformOf, Reader
from services.edge.endpoints.charges.schema import ChargeList, ChargeObject
from services.edge.endpoints.endpoint import KEYED, Endpoint

router = APIRouter(tags=["usage"])

State = Literal["held", "settled", "released", "expired"]
STATES: dict[int, State] = {
    quota_pb2.Charge.STATE_HELD: "held",
    quota_pb2.Charge.STATE_SETTLED: "settled",
    quota_pb2.Charge.STATE_RELEASED: "released",
    quota_pb2.Charge.STATE_EXPIRED: "expired",
}


@router.get("/v1/usage/charges", summary="Receipts, newest first")
async def list_charges(
    caller: Reader,
    platform: PlatformOf,
    limit: Annotated[int, Query(ge=1, le=100, description="Receipts in one page")] = 20,
    after: Annotated[str, Query(max_length=64, description="The id of the last receipt of the page before")] = "",
) -> ChargeList:
    answer = await platform.gateway.charges(caller, limit, after)
    receipts = [_receipt(charge) for charge in answer.charges]
    return ChargeList(
        data=receipts,
        first_id=receipts[0].id if receipts else None,
        last_id=receipts[-1].id if receipts else None,
        has_more=bool(answer.next_page_token),
    )


def _receipt(charge: quota_pb2.Charge) -> ChargeObject:
    return ChargeObject(
        id=charge.hold_id.hex(),
        state=STATES[charge.state],
        created=charge.reserved_at.seconds,
        ended=charge.ended_at.seconds if charge.HasField("ended_at") else None,
        key_id=charge.key_id,
        model=charge.model,
        prompt_tokens=charge.prompt_tokens,
        completion_tokens=charge.output_tokens,
        input_price=charge.input_price,
        output_price=charge.output_price,
        credits=charge.credits,
        uncollected_credits=charge.uncollected_credits,
        refunded_credits=charge.refunded_credits,
        estimated=charge.estimated,
    )


ENDPOINT = Endpoint(router, {"/v1/usage/charges": {400: "`after` is not the id of a charge of this account", **KEYED}})
