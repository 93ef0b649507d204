"""What the probes answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Health(BaseModel):
    """How this process is."""

    # degraded: auth, quota or inference cannot be reached now, so requests are answered 503 or 502
    status: Literal["ok", "degraded", "unavailable"]
