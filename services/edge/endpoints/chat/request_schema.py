"""The JSON Schema of a chat request for /openapi.json: the fields of request.py with the rules of rules.py.

Validation reads all messages into one flat model, for speed; here each role and each kind of part has a schema of its
own, so that what the description allows is taken and what it forbids is refused. tests/integration/edge/test_openapi.py
compares the two. Rules that a schema cannot say are in the descriptions.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from services.edge.endpoints.chat.request import ChatRequest
from services.edge.endpoints.chat.rules import DIALECTS_OF_TOOLS, MISPLACED_IN_TOOLS
from services.edge.endpoints.endpoint import COMPONENTS

Schema = dict[str, Any]

_TURNS = (
    "Tool messages follow the assistant's message whose calls they answer, at once, and answer each of them. Of two "
    "different limits max_tokens and max_completion_tokens none is taken, and no two tools have the same name."
)
_REFUSED = {"type": "null"}
_CLOSED = ["JsonSchema", "NamedToolChoice", "FunctionName"]
_MESSAGES = {
    "SystemMessage": ("How the assistant is to behave. developer is today's name of system.", ["system", "developer"]),
    "UserMessage": ("What the user says or shows.", ["user"]),
    "AssistantMessage": ("What the assistant said or called before: content, tool_calls or a refusal.", ["assistant"]),
    "ToolMessage": ("What one of the calls of the assistant's message before gave.", ["tool"]),
}
_PARTS = {"TextPart": "text", "ImagePart": "image_url", "RefusalPart": "refusal"}
_PARTS_OF = {
    "SystemMessage": ["TextPart"],
    "UserMessage": ["TextPart", "ImagePart"],
    "AssistantMessage": ["TextPart", "RefusalPart"],
    "ToolMessage": ["TextPart"],
}


def chat_request_schemas() -> dict[str, Schema]:
    """The component schemas of a request, `ChatRequest` among them."""
    request = ChatRequest.model_json_schema(ref_template=COMPONENTS + "{model}")
    schemas: dict[str, Schema] = request.pop("$defs")
    message, part = schemas.pop("Message"), schemas.pop("ContentPart")
    for name, kind in _PARTS.items():
        schemas[name] = _part(part, name, kind)
    for name in _MESSAGES:
        schemas[name] = _message(message, name)
    schemas["Message"] = {"anyOf": [_ref(name) for name in _MESSAGES], "title": "Message"}
    _describe_formats(schemas)
    for name in _CLOSED:
        schemas[name]["additionalProperties"] = _REFUSED  # null is absent, here too
    for name, refused in (("Tool", DIALECTS_OF_TOOLS | MISPLACED_IN_TOOLS), ("FunctionDefinition", DIALECTS_OF_TOOLS)):
        schemas[name]["not"] = {"anyOf": [{"required": [dialect]} for dialect in sorted(refused)]}
    schemas["ChatRequest"] = _request(request)
    return schemas


def _describe_formats(schemas: dict[str, Schema]) -> None:
    """One schema for each type of answer: a field of another type would be ignored, and is refused."""
    flat = schemas.pop("ResponseFormat")
    given = {"type": "object", "description": flat["properties"]["schema"]["description"]}
    own: dict[str, Schema] = {"text": {}, "json_object": {"schema": {"anyOf": [given, _REFUSED]}}}
    own["json_schema"] = {"json_schema": _ref("JsonSchema")}
    schemas["JsonSchema"]["properties"]["schema"] = {"type": "object"}
    schemas["JsonSchema"]["required"] = ["name", "schema"]
    schemas["ResponseFormat"] = {
        "title": "ResponseFormat",
        "description": flat["description"],
        "anyOf": [
            {
                "type": "object",
                "properties": {"type": {"type": "string", "const": kind}, **fields},
                "required": ["type", *(["json_schema"] if kind == "json_schema" else [])],
                "additionalProperties": _REFUSED,
            }
            for kind, fields in own.items()
        ],
    }


def _request(request: Schema) -> Schema:
    for name in ("functions", "function_call", "web_search_options"):
        request["properties"][name] = {**_REFUSED, "description": request["properties"][name]["description"]}
    request["description"] = f"The whole body. null means absent, unknown fields are ignored. {_TURNS}"
    bias = next(option for option in request["properties"]["logit_bias"]["anyOf"] if option != _REFUSED)
    bias["additionalProperties"] = False  # pydantic tells the pattern of the keys, not that others are refused
    tools = {"type": "array", "minItems": 1}
    request["allOf"] = [
        _demand("stream_options", {"type": "object"}, "stream", {"const": True}),
        _demand("top_logprobs", {"type": "integer"}, "logprobs", {"const": True}),
        _demand("tool_choice", {"anyOf": [{"const": "required"}, {"type": "object"}]}, "tools", tools),
    ]
    return request


def _message(flat: Schema, name: str) -> Schema:
    description, roles = _MESSAGES[name]
    schema = deepcopy(flat) | {"title": name, "description": description, "required": ["role", "content"]}
    fields = schema["properties"]
    fields["role"] = {"type": "string", "enum": roles}
    parts = {"type": "array", "minItems": 1, "maxItems": _parts_bound(flat), "items": _any_of(_PARTS_OF[name])}
    fields["content"] = {"anyOf": [{"type": "string"}, parts]}
    for refused in ("function_call", "audio"):
        fields[refused] = {**_REFUSED, "description": fields[refused]["description"]}
    for refused in ("prefix", "partial"):
        fields[refused] = {"enum": [False, None], "description": fields[refused]["description"]}
    if name == "AssistantMessage":
        return _assistants(schema)
    del fields["tool_calls"], fields["refusal"]
    schema["properties"] |= {"tool_calls": _nothing("array", "maxItems"), "refusal": _nothing("string", "maxLength")}
    if name == "ToolMessage":
        fields["tool_call_id"] = {"type": "string", "minLength": 1, "maxLength": 256}
        schema["required"].append("tool_call_id")
    return schema


def _assistants(schema: Schema) -> Schema:
    fields = schema["properties"]
    fields["content"]["anyOf"].append({"type": "null"})
    schema["required"] = ["role"]
    said = {"content": ["string", "array"], "tool_calls": "array", "refusal": "string"}
    least = {"content": {}, "tool_calls": {"minItems": 1}, "refusal": {"minLength": 1}}
    schema["anyOf"] = [
        {"required": [name], "properties": {name: {"type": kind, **least[name]}}} for name, kind in said.items()
    ]
    return schema


def _part(flat: Schema, name: str, kind: str) -> Schema:
    schema = deepcopy(flat) | {"title": name, "description": f"A piece of a message: {kind}."}
    value = next(option for option in schema["properties"][kind]["anyOf"] if option != _REFUSED)
    schema["properties"] |= {"type": {"type": "string", "const": kind}, kind: value}
    for other in _PARTS.values():
        if other != kind:
            del schema["properties"][other]
    schema["required"] = ["type", kind]
    return schema


def _parts_bound(flat: Schema) -> int:
    return next(int(option["maxItems"]) for option in flat["properties"]["content"]["anyOf"] if "maxItems" in option)


def _nothing(kind: str, bound: str) -> Schema:
    return {"anyOf": [{"type": kind, bound: 0}, _REFUSED], "description": "Only an assistant's message has it."}


def _demand(given: str, looks: Schema, wanted: str, like: Schema) -> Schema:
    """When the field `given` looks so, the field `wanted` must be there and be like this."""
    return {
        "if": {"required": [given], "properties": {given: looks}},
        "then": {"required": [wanted], "properties": {wanted: like}},
    }


def _any_of(names: list[str]) -> Schema:
    return _ref(names[0]) if len(names) == 1 else {"anyOf": [_ref(name) for name in names]}


def _ref(name: str) -> Schema:
    return {"$ref": COMPONENTS + name}
