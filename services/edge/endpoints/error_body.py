"""The shape of every error, for /openapi.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: Literal[
        "invalid_request_error",
        "insufficient_quota",
        "model_not_allowed",
        "rate_limit",
        "upstream_error",
        "service_unavailable",
        "api_error",
    ]
    param: str | None = Field(description="The field in question, e.g. messages[2].content[0].text")
    code: str | None


class ErrorBody(BaseModel):
    """Every error has this shape."""

    error: ErrorDetail
