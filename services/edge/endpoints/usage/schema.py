"""What the usage endpoint answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class UsageTotals(BaseModel):
    """Sums over the range."""

    credits: int
    tokens: int
    requests: int


class UsageDay(BaseModel):
    """One UTC day with at least one charged request."""

    day: str = Field(description="YYYY-MM-DD")
    credits: int
    requests: int


class UsageModel(BaseModel):
    """One model's share."""

    model: str
    credits: int


class UsageReport(BaseModel):
    """Balance and consumption."""

    object: Literal["usage"] = "usage"
    balance: int = Field(description="Credits not yet charged; holds of running requests are not subtracted")
    totals: UsageTotals
    daily: list[UsageDay]
    by_model: list[UsageModel]
