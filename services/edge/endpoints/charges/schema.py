"""What the charges endpoint answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ChargeObject(BaseModel):
    """The receipt of one request.

    `credits` is ceil((prompt_tokens * input_price + completion_tokens * output_price) / 1e6), less what could not be
    collected.
    """

    id: str
    object: Literal["charge"] = "charge"
    state: Literal["held", "settled", "released", "expired"] = Field(
        description="held: it runs; settled: charged; released: nothing came, nothing is charged; "
        "expired: the server that answered was lost, charged is what had been delivered"
    )
    created: int = Field(description="Unix time of admission; its UTC day and month are the charge's")
    ended: int | None
    key_id: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    input_price: int = Field(description="Credits for a million prompt tokens when the request was admitted")
    output_price: int = Field(description="Credits for a million completion tokens")
    credits: int
    uncollected_credits: int
    refunded_credits: int = Field(
        0, description="Charged and given back, since the server was lost before the answer had left it; credits is 0"
    )
    estimated: bool = Field(False, description="The tokens are an estimate: the model's provider did not count them")


class ChargeList(BaseModel):
    """Receipts, newest first."""

    object: Literal["list"] = "list"
    data: list[ChargeObject]
    first_id: str | None
    last_id: str | None = Field(description="Send it as `after` for the next page")
    has_more: bool
