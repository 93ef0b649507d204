"""/openapi.json: FastAPI's own description, the hot endpoints', and the errors and headers of every route."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi

from services.edge.endpoints.endpoint import Errors, json_content
from services.edge.endpoints.error_body import ErrorBody
from services.edge.endpoints.model_schemas import model_schemas
from services.edge.endpoints.routes import HOT, OTHERS

_EVERYWHERE: Errors = {
    400: "Not valid HTTP",
    408: "The header or the body did not arrive in time",
    431: "The header is too large",
    500: "A defect of this server; the message holds the request's id",
}

_HEADERS = {
    "x-request-id": ("Leads to the request's log lines", r"^req_[0-9a-f]{32}$"),
    "x-ratelimit-limit-requests": ("Requests a minute of the account", r"^[0-9]+$"),
    "x-ratelimit-remaining-requests": ("Requests left of them", r"^[0-9]+$"),
    "x-ratelimit-reset-requests": ("The time until all of them are left again", r"^[0-9]+\.[0-9]{3}s$"),
    "x-muhgpt-max-tokens": ("The output tokens a choice that the account can pay, at most what was asked", r"^[0-9]+$"),
    "retry-after": ("Seconds after which the request may go better", r"^[0-9]+$"),
    "retry-after-ms": ("The same in milliseconds", r"^[0-9]+$"),
    "x-should-retry": ("Whether the SDKs send the request again, where they would get it wrong", r"^false$"),
    "www-authenticate": ("How to authenticate", r"^Bearer$"),
}
_HEADERS_OF = {
    401: ["www-authenticate"],
    402: ["x-should-retry"],
    429: ["retry-after", "retry-after-ms"],
    503: ["retry-after", "retry-after-ms"],
}
_WINDOW = [name for name in _HEADERS if name.startswith("x-ratelimit-")]


router = APIRouter(include_in_schema=False)
_DESCRIPTIONS: list[bytes] = []  # one for the process: every application has the same routes


@router.get("/openapi.json")
async def description(request: Request) -> Response:
    return Response(request.app.state.description, media_type="application/json")


def describe(app: FastAPI) -> None:
    """Makes app.openapi() truthful, and encodes it once: it takes a tenth of a second, which no request may wait."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    if not _DESCRIPTIONS:
        _DESCRIPTIONS.append(orjson.dumps(app.openapi()))
    app.state.description = _DESCRIPTIONS[0]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    components = document["components"]
    components["headers"] = {
        name: {"description": text, "schema": {"type": "string", "pattern": pattern}}
        for name, (text, pattern) in _HEADERS.items()
    }
    schemas = components["schemas"]
    schemas.update(model_schemas(ErrorBody))
    errors = {path: listed for each in OTHERS for path, listed in each.errors.items()}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(operation["responses"], errors.get(path, {}))
    for each in HOT:
        schemas.update(each.schemas())
        operation = each.operation()
        _complete(operation["responses"], each.errors, hot=True)
        document["paths"].setdefault(each.path, {})[each.method.lower()] = operation
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _complete(responses: dict[str, Any], errors: Errors, *, hot: bool = False) -> None:
    """Adds what FastAPI does not know: our errors, which are never 422, and all headers."""
    responses.pop("422", None)
    for number, text in sorted({**_EVERYWHERE, **errors}.items()):
        responses[str(number)] = {"description": text, "content": json_content("ErrorBody")}
    for status, response in responses.items():
        names = ["x-request-id", *_HEADERS_OF.get(int(status), ())]
        if hot:
            names += [*_WINDOW, "x-muhgpt-max-tokens"] if status == "200" else _WINDOW
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
