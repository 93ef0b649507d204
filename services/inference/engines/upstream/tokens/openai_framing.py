"""How OpenAI's chat models frame a conversation, in tokens.

Messages, names and tools: the OpenAI Cookbook, "How to count tokens with tiktoken", sections 6 and 7
(num_tokens_from_messages and num_tokens_for_tools). Images: OpenAI's guide "Images and vision", "Calculating costs",
the tile rule. What stands in neither (earlier tool calls, nested schemas, response_format) is framed likewise. Wherever
that or a rule for tools or images is used, the count is an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import orjson

A_MESSAGE, A_NAME, THE_REPLY = 3, 1, 3
A_CALL = 3  # as a message's frame; no public source
THE_TOOLS = 12  # func_end
A_TOOL = {"o200k_base": 7, "cl100k_base": 10}  # func_init
SOME_PROPERTIES, A_PROPERTY, AN_ENUM, AN_ENUM_VALUE = 3, 3, -3, 3
IMAGE_BASE, IMAGE_TILE, TILE = 85, 170, 512
MAX_SIDE, SHORT_SIDE = 2048, 768
FRAMED_ELSEWHERE = ("description", "enum", "properties", "items")
MAX_NESTING = 64  # of a schema; what is deeper is counted as its JSON text


@dataclass
class Framed:
    """`texts` are to be counted, each alone; `tokens` stand around them. `estimated`: no exact rule gives all of it."""

    tokens: int = 0
    texts: list[str] = field(default_factory=list)
    estimated: bool = False


def frame(conversation: dict[str, Any], encoding: str) -> Framed:
    """What the model is given of a conversation (conversation.py), without images. `encoding` is one of BUNDLED."""
    framed = Framed(THE_REPLY)
    for message in conversation["messages"]:
        _frame_message(framed, message)
    if conversation["tools"]:
        framed.estimated = True
        framed.tokens += THE_TOOLS
        for tool in conversation["tools"]:
            framed.tokens += A_TOOL[encoding]
            function = tool["function"]
            framed.texts.append(f"{function['name']}:{function.get('description', '').removesuffix('.')}")
            _frame_properties(framed, function.get("parameters"), MAX_NESTING)
    if conversation["schema"]:
        framed.estimated = True
        framed.texts.append(conversation["schema"])
    return framed


def _frame_message(framed: Framed, message: dict[str, Any]) -> None:
    framed.tokens += A_MESSAGE
    framed.texts.append(message["role"])
    if message["name"]:
        framed.tokens += A_NAME
        framed.texts.append(message["name"])
    for part in message["content"]:
        if isinstance(part, str):
            framed.texts.append(part)
    for call in message["tool_calls"]:
        framed.estimated = True
        framed.tokens += A_CALL
        framed.texts += [call["name"], call["arguments"]]


def _frame_properties(framed: Framed, schema: Any, nesting: int) -> None:
    """A schema's properties, each as name:type:description, and those of what is nested in them."""
    if not isinstance(schema, dict):
        return
    properties = schema.get("properties")
    if not isinstance(properties, dict) or not properties:
        return
    framed.tokens += SOME_PROPERTIES
    for name, inner in properties.items():
        framed.tokens += A_PROPERTY
        if not isinstance(inner, dict) or nesting <= 0:
            framed.texts.append(f"{name}:{_json(inner)}")
            continue
        _frame_enum(framed, inner.get("enum"))
        description = inner.get("description")
        described = description.removesuffix(".") if isinstance(description, str) else ""
        framed.texts.append(f"{name}:{_type(inner)}:{described}")
        _frame_properties(framed, inner, nesting - 1)
        _frame_properties(framed, inner.get("items"), nesting - 1)


def _frame_enum(framed: Framed, values: Any) -> None:
    if isinstance(values, list) and values:
        framed.tokens += AN_ENUM + AN_ENUM_VALUE * len(values)
        framed.texts += [value if isinstance(value, str) else _json(value) for value in values]


def _type(schema: dict[str, Any]) -> str:
    """Its type, or the rest of the schema where it is of several kinds."""
    named = schema.get("type")
    if isinstance(named, str):
        return named
    return _json({name: value for name, value in schema.items() if name not in FRAMED_ELSEWHERE})


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # nested too deeply for any JSON that we could send
        return ""


def image_tokens(width: int, height: int) -> int:
    """An image at high detail: within 2048 by 2048, its short side at most 768, in tiles of 512. Unknown: one tile."""
    if not width or not height:
        return IMAGE_BASE + IMAGE_TILE
    scale = min(1.0, MAX_SIDE / max(width, height))
    scale *= min(1.0, SHORT_SIDE / (min(width, height) * scale))
    tiles = math.ceil(width * scale / TILE) * math.ceil(height * scale / TILE)
    return IMAGE_BASE + IMAGE_TILE * tiles
