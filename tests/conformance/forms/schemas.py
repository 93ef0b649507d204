"""Schemas of every kind that a grammar takes. Each bounds its texts and lists, so that an answer comes to its end."""

from __future__ import annotations

from typing import Any

WORD = {"type": "string", "maxLength": 8}
POINT = {
    "type": "object",
    "properties": {
        "x": {"type": "integer", "minimum": -9, "maximum": 9},
        "y": {"type": "integer", "maximum": 0, "minimum": -99},
    },
    "required": ["x", "y"],
    "additionalProperties": False,
}


def closed(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    """An object of these properties; all are required unless told otherwise."""
    needed = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


SCHEMAS: list[tuple[str, dict[str, Any]]] = [
    ("nested", closed(a=closed(b=closed(c=closed(word=WORD)), flag={"type": "boolean"}))),
    ("arrays", closed(words={"type": "array", "items": WORD, "minItems": 1, "maxItems": 3})),
    (
        "matrix",
        closed(
            rows={
                "type": "array",
                "items": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
                "maxItems": 2,
            }
        ),
    ),
    (
        "enums",
        closed(kind={"enum": ["a", "ä", "\\n", 3, None, True]}, color={"type": "string", "enum": ["red", "blue"]}),
    ),
    (
        "integers",
        closed(
            n={"type": "integer", "minimum": -5, "maximum": 1000},
            m={"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 3},
        ),
    ),
    ("numbers", closed(ratio={"enum": [0.5, 1.25, -3e2]}, share={"type": "integer", "minimum": 0, "maximum": 1})),
    (
        "optional",
        closed(["must"], must={"type": "boolean"}, may=WORD, can={"type": "integer", "minimum": 0, "maximum": 9}),
    ),
    ("nullable", closed(name={"type": ["string", "null"], "maxLength": 5}, other={"anyOf": [{"type": "null"}, POINT]})),
    ("refs", {**closed(start={"$ref": "#/$defs/Point"}, end={"$ref": "#/$defs/Point"}), "$defs": {"Point": POINT}}),
    (
        "tree",
        {
            **closed(root={"$ref": "#/$defs/Node"}),
            "$defs": {
                "Node": closed(
                    ["value"],
                    value={"type": "integer", "minimum": 0, "maximum": 9},
                    left={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/Leaf"}]},
                ),
                "Leaf": closed(end={"const": True}),
            },
        },
    ),
    ("list_of_itself", closed(v={"type": "boolean"}, next={"anyOf": [{"type": "null"}, {"$ref": "#"}]})),
    (
        "choice",
        closed(
            shape={
                "oneOf": [
                    closed(kind={"const": "dot"}),
                    closed(kind={"const": "line"}, length={"type": "integer", "minimum": 1, "maximum": 9}),
                ]
            }
        ),
    ),
    (
        "formats",
        closed(
            day={"type": "string", "format": "date"},
            id={"type": "string", "format": "uuid"},
            ip={"type": "string", "format": "ipv4"},
        ),
    ),
    (
        "lengths",
        closed(code={"type": "string", "minLength": 3, "maxLength": 3}, none={"type": "string", "maxLength": 0}),
    ),
    (
        "annotated",
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "T",
            "description": "D",
            **closed(a={"title": "A", "default": 1, "type": "null"}),
        },
    ),
    ("open", {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}),
    ("empty", closed()),
]
