"""Bytes to a checked ChatRequest, and pydantic's findings to one 400 that names the field as OpenAI does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from services.edge.endpoints.chat import rules as chat_rules
from services.edge.endpoints.chat.request import Budget, ChatRequest
from services.edge.http.errors import ApiError
from services.edge.http.limits import RequestLimits
from services.edge.http.parsing import scan

LONGEST_NAME = 64
MAX_MESSAGE = 400  # characters of an error's text

_ADAPTER: TypeAdapter[ChatRequest] = TypeAdapter(ChatRequest)


def parse_chat_request(body: bytes | bytearray, limits: RequestLimits | None = None) -> ChatRequest:
    """Reads and checks a body: sizes before contents, and no further than the first mistake in a list.

    Raises ApiError 400; its message is short and never repeats what the client sent.
    """
    limits = limits or RequestLimits()
    scan.check_values(body)
    try:
        request = _ADAPTER.validate_json(body, context=Budget(parts=limits.parts))
    except ValidationError as error:
        raise explain(error, limits.validation_errors) from None
    chat_rules.check(request, limits)
    return request


def explain(error: ValidationError, most: int) -> ApiError:
    """The most telling of pydantic's first findings as a 400."""
    findings = error.errors(include_url=False, include_context=False, include_input=False)
    return explain_findings([dict(finding) for finding in findings[:most]])


def explain_findings(findings: Sequence[Mapping[str, Any]]) -> ApiError:
    """The most telling of several findings (pydantic's or FastAPI's form) as a 400."""
    first = _most_telling(findings)
    if first["type"] == "json_invalid":
        detail = str(first["msg"]).removeprefix("Invalid JSON: ")
        return ApiError.invalid(f"The request body is not valid JSON: {detail}.", code="invalid_json")
    param = path_of(first["loc"])
    if not param:
        return ApiError.invalid("The request body must be a JSON object.")
    if first["type"] == "missing":
        return ApiError.invalid(f"Missing required field '{param}'.", param=param)
    same = [finding for finding in findings if path_of(finding["loc"]) == param]
    # Of a union's branches one that took the type but not the value says more than those of another type.
    telling = [finding for finding in same if not str(finding["type"]).endswith("_type")] or same
    reasons = " or ".join(_sentence(str(finding["msg"])) for finding in telling)
    return ApiError.invalid(_clipped(f"Invalid '{param}': {reasons}."), param=param)


def path_of(location: Iterable[str | int]) -> str:
    """("messages", 0, "|list", 1, "text") -> "messages[0][1].text": a union's own tags are no part of it, nor is
    pydantic's word for a dictionary's key."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not step.startswith("|") and step != "[key]":
            name = (
                step if len(step) <= LONGEST_NAME else step[:LONGEST_NAME] + "…"
            )  # a dictionary's key is the client's
            path += f".{name}" if path else name
    return path


def _clipped(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[:MAX_MESSAGE] + "…"


def _most_telling(findings: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """A union reports each branch; the branch that got furthest is the one that the client meant."""
    first = findings[0]
    root = first["loc"][:1]
    same_field = [finding for finding in findings if finding["loc"][:1] == root]
    return max(same_field, key=lambda finding: len(finding["loc"]))


def _sentence(message: str) -> str:
    message = message.partition(" after validation")[0]
    for start in ("Input", "String", "List", "Dictionary"):
        if message.startswith(f"{start} should "):
            return f"must {message.removeprefix(f'{start} should ')}"
    return message[:1].lower() + message[1:]
