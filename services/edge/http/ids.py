"""Ids that clients see."""

from __future__ import annotations

import secrets

_PREFIX = "req_"


def new_request_id() -> str:
    """A fresh request id: 128 random bits."""
    return _PREFIX + secrets.token_hex(16)


def answer_id(prefix: str, request_id: str) -> str:
    """The id of a request's answer: the same bits, so that either leads to the log lines."""
    return prefix + request_id.removeprefix(_PREFIX)
