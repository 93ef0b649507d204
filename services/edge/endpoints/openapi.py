"""/openapi.json: FastAPI's own description, the hot route's, and the errors and headers of every route."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from services.edge.endpoints.chat import route as chat
from services.edge.endpoints.chat.request_schema import COMPONENTS, chat_request_schemas
from services.edge.endpoints.schemas import ChatCompletion, ChatCompletionChunk, ErrorBody

_EVERYWHERE = {
    400: "Not valid HTTP",
    408: "The header or the body did not arrive in time",
    431: "The header is too large",
    500: "A defect of this server; the message holds the request's id",
}
_KEYED = {
    401: "The key is missing, malformed, unknown, revoked or expired",
    429: "Too many requests; Retry-After says when to come back",
    503: "Auth or quota cannot be asked, or the server is stopping",
}
_ERRORS: dict[str, dict[int, str]] = {
    chat.PATH: {
        400: "Malformed JSON, or a field out of its range; `param` names it",
        402: "No credits, or the key's monthly limit is reached; `code` tells which",
        403: "The model is not in the key's allow-list",
        404: "No such model",
        413: "The body is too large",
        415: "The body is not JSON",
        502: "The engine or provider is not available",
        **_KEYED,
    },
    "/v1/models": _KEYED,
    "/v1/models/{model}": {403: "The model is not in the key's allow-list", 404: "No such model", **_KEYED},
    "/v1/usage": {400: "The range of days is not valid", **_KEYED},
    "/v1/usage/charges": {400: "`after` is not the id of a charge of this account", **_KEYED},
    "/readyz": {503: "A service behind the edge cannot be reached"},
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
    schemas.update(chat_request_schemas())
    for model in (ChatCompletion, ChatCompletionChunk, ErrorBody):
        _add_schema(schemas, model)
    document["paths"][chat.PATH] = {"post": _chat_operation()}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(path, operation["responses"])
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _complete(path: str, responses: dict[str, Any]) -> None:
    """Adds what FastAPI does not know: our errors, which are never 422, and all headers."""
    responses.pop("422", None)
    for number, text in sorted({**_EVERYWHERE, **_ERRORS.get(path, {})}.items()):
        responses[str(number)] = {"description": text, "content": _json("ErrorBody")}
    for status, response in responses.items():
        names = ["x-request-id", *_HEADERS_OF.get(int(status), ())]
        if path == chat.PATH:
            names += [*_WINDOW, "x-muhgpt-max-tokens"] if status == "200" else _WINDOW
        response["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _add_schema(schemas: dict[str, Any], model: type[BaseModel]) -> None:
    schema = model.model_json_schema(ref_template=COMPONENTS + "{model}", mode="serialization")
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema


def _chat_operation() -> dict[str, Any]:
    text = (
        "With `stream` the answer is a series of server-sent events, each a ChatCompletionChunk, ended by "
        "`data: [DONE]`; the chunk with `finish_reason` carries usage. A failure after the first token is one "
        "event with an ErrorBody and no [DONE]."
    )
    chunk = {"anyOf": [{"$ref": COMPONENTS + name} for name in ("ChatCompletionChunk", "ErrorBody")]}
    data = {
        "type": "string",
        "description": "A chunk or an error as JSON, or [DONE]",
        "anyOf": [{"const": "[DONE]"}, {"contentMediaType": "application/json", "contentSchema": chunk}],
    }
    # OpenAPI 3.1 has no word for a series; tools read this as the schema of each event.
    event = {
        "type": "object",
        "description": "A server-sent event; comments keep a silent stream alive",
        "properties": {"data": data, "event": {"const": "message"}},
        "required": ["data"],
    }
    events = {"schema": event, "x-event-schema": chunk}
    return {
        "tags": ["chat"],
        "summary": "Create a chat completion",
        "operationId": "create_chat_completion",
        "description": text,
        "security": [{"ApiKey": []}],
        "requestBody": {"required": True, "content": _json("ChatRequest")},
        "responses": {
            "200": {
                "description": "The answer, whole or as a stream",
                "content": {**_json("ChatCompletion"), "text/event-stream": events},
            }
        },
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": COMPONENTS + name}}}
