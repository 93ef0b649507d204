"""Ids that clients see."""

from __future__ import annotations

import secrets

_PREFIX = "req_"


def new_request_id() -> str:
    """A fresh request id: 128 random bits."""
    return _PREFIX + secrets.token_hex(16)


def completion_id(request_id: str) -> str:
    """The completion's id of a request: the same bits, so that either leads to the log lines."""
    return "chatcmpl-" + request_id.removeprefix(_PREFIX)
