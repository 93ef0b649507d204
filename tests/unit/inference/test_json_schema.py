"""Which schemas a grammar is made of, and which are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.inference.domain.errors import InvalidRequest
from services.inference.domain.json_schema import parse_schema


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def lists_within_lists(depth: int, items: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"maxItems": items, "type": "array", "items": schema}
    return schema


def test_lists_within_lists_and_lists_side_by_side_pass() -> None:
    deep = lists_within_lists(2, 4096)
    side_by_side = {"type": "object", "properties": dict.fromkeys("abcdefgh", deep)}
    assert parse_schema(json.dumps(deep), "p") == deep
    assert parse_schema(json.dumps(side_by_side), "p")["properties"] == side_by_side["properties"]


def test_annotations_go_and_objects_are_closed() -> None:
    schema = {
        "$schema": "x",
        "title": "T",
        "type": "object",
        "properties": {"title": {"type": "string", "description": "a property may be called as an annotation is"}},
        "required": ["title"],
    }
    assert parse_schema(json.dumps(schema), "p") == {
        "type": "object",
        "properties": {"title": {"type": "string"}},
        "required": ["title"],
        "additionalProperties": False,
    }


def test_every_keyword_that_constrains_is_kept() -> None:
    schema = {
        "anyOf": [
            {"const": None},
            {"enum": [1, "a"]},
            {"type": ["string", "null"], "minLength": 1, "maxLength": 3},
            {"type": "number", "minimum": 0, "maximum": 1.5},
            {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 9},
            {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
            {"type": "object", "additionalProperties": {"type": "string"}},
        ]
    }
    assert parse_schema(json.dumps(schema), "p") == schema


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "objct"}, "/type must be of"),
        (lists_within_lists(3, 4096), "/items/items/items is within lists of more than 8192 items together"),
        ({"$ref": "https://example.com/schema"}, r"/\$ref is a keyword that is not supported"),
        ({"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}}, "/properties/a/pattern is a keyword"),
        ({"type": "object", "properties": {"a": 7}}, "/properties/a is not an object"),
        ({"type": "object", "properties": {}, "required": ["b"]}, "requires 'b'"),
        ({"required": "b"}, "/required is not a list of names"),
        ({"enum": []}, "/enum is not a list"),
        ({"enum": list(range(513))}, "more than 512 values"),
        ({"anyOf": [{}] * 513}, "more than 512 values"),
        ({"anyOf": {}}, "/anyOf is not a list"),
        ({"maxLength": 5000}, "between 0 and 4096"),
        ({"minItems": 1.5}, "whole number"),
        ({"minimum": "1"}, "/minimum is not a number"),
        ({"type": "object", "properties": {f"p{n}": {} for n in range(257)}}, "more than 256 properties"),
        (nested(13), "nested deeper than 12"),
        ([], "is not an object"),
        ({"const": "x" * 40_000}, "larger than 32 KiB"),
    ],
)
def test_what_could_not_be_promised_is_refused_with_its_place(schema: Any, problem: str) -> None:
    with pytest.raises(InvalidRequest, match=problem) as caught:
        parse_schema(json.dumps(schema), "response_format.json_schema.schema")
    assert caught.value.param == "response_format.json_schema.schema"


@pytest.mark.parametrize("text", ["", "{", "[" * 30_000, '{"type": nan}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_schema(text, "p")
