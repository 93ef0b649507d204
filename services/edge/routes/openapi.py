"""/openapi.json: FastAPI's own description, the hot route's, and the errors that every route may answer."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from services.edge.chat_request import ChatRequest
from services.edge.routes import chat
from services.edge.routes.schemas import ChatCompletion, ErrorBody

_COMPONENTS = "#/components/schemas/"
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


def describe(app: FastAPI) -> None:
    """Makes app.openapi() truthful."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes)
    schemas = document["components"]["schemas"]
    for model, mode in ((ChatRequest, "validation"), (ChatCompletion, "serialization"), (ErrorBody, "serialization")):
        _add_schema(schemas, model, mode)
    document["paths"][chat.PATH] = {"post": _chat_operation()}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # ours are 400s
            for status, text in sorted(_ERRORS.get(path, {}).items()):
                operation["responses"][str(status)] = {"description": text, "content": _json("ErrorBody")}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _add_schema(schemas: dict[str, Any], model: type[BaseModel], mode: Any) -> None:
    schema = model.model_json_schema(ref_template=_COMPONENTS + "{model}", mode=mode)
    schemas.update(schema.pop("$defs", {}))
    schemas[model.__name__] = schema


def _chat_operation() -> dict[str, Any]:
    text = (
        "With `stream` the answer is a series of server-sent events, each a chat.completion.chunk, ended by "
        "`data: [DONE]`; the chunk with `finish_reason` carries usage. A failure after the first token is one "
        "event with an error and no [DONE]."
    )
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
                "content": {**_json("ChatCompletion"), "text/event-stream": {"schema": {"type": "string"}}},
            }
        },
    }


def _json(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": _COMPONENTS + name}}}
