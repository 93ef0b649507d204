"""The chat endpoint in /openapi.json."""

from __future__ import annotations

from services.edge.endpoints.chat.request_schema import chat_request_schemas
from services.edge.endpoints.chat.schema import ChatCompletion, ChatCompletionChunk
from services.edge.endpoints.endpoint import COMPONENTS, KEYED, Errors, Schemas, json_content
from services.edge.endpoints.model_schemas import model_schemas

ERRORS: Errors = {
    400: "Malformed JSON, or a field out of its range; `param` names it",
    402: "No credits, or the key's monthly limit is reached; `code` tells which",
    403: "The model is not in the key's allow-list",
    404: "No such model",
    413: "The body is too large",
    415: "The body is not JSON",
    502: "The engine or provider is not available",
    **KEYED,
}


def schemas() -> Schemas:
    """Of requests and answers."""
    return {**chat_request_schemas(), **model_schemas(ChatCompletion), **model_schemas(ChatCompletionChunk)}


def operation() -> Schemas:
    """The operation, without errors and headers."""
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
        "requestBody": {"required": True, "content": json_content("ChatRequest")},
        "responses": {
            "200": {
                "description": "The answer, whole or as a stream",
                "content": {**json_content("ChatCompletion"), "text/event-stream": events},
            }
        },
    }
