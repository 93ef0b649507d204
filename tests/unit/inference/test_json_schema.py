"""Which schemas a grammar is made of, and which are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.domain.errors import InvalidRequest
from services.inference.domain.json import patterns as json_patterns
from services.inference.domain.json.loosening import Hold
from services.inference.domain.json.patterns import URI
from services.inference.domain.json.schema import parse_schema


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


TREE = {"type": "array", "items": {"$ref": "#/$defs/Tree-1.0"}, "maxItems": 2}
ENDLESS_PAIR = {
    "type": "object",
    "properties": {"a": {"type": "null"}},
    "$defs": {
        "a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/b"}}, "required": ["b"]},
        "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 2}]},
    },
}


def lists_within_lists(depth: int, items: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(depth):
        schema = {"maxItems": items, "type": "array", "items": schema}
    return schema


def test_long_lists_pass_within_each_other_and_side_by_side() -> None:
    deep = lists_within_lists(4, 4096)
    side_by_side = {"type": "object", "properties": {key: {"type": "array", "maxItems": 4096} for key in "abcd"}}
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
            {"oneOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        ]
    }
    assert parse_schema(json.dumps(schema), "p") == schema


@pytest.mark.parametrize("keyword", ["$defs", "definitions"])
def test_what_a_schema_refers_to_stands_in_defs(keyword: str) -> None:
    schema = {
        keyword: {"Mood": {"title": "Mood", "enum": ["x", "y"]}, "Tree-1.0": TREE},
        "properties": {
            "mood": {"$ref": f"#/{keyword}/Mood", "description": "what pydantic writes"},
            "old": {"allOf": [{"$ref": f"#/{keyword}/Mood"}], "description": "what it wrote before"},
        },
    }
    assert parse_schema(json.dumps(schema), "p") == {
        "properties": {"mood": {"$ref": "#/$defs/Mood"}, "old": {"$ref": "#/$defs/Mood"}},
        "additionalProperties": False,
        "$defs": {"Mood": {"enum": ["x", "y"]}, "Tree-1.0": TREE},
    }


def test_a_schema_that_refers_to_itself_becomes_a_definition() -> None:
    schema = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
    reduced = parse_schema(json.dumps({**schema, "$defs": {"root0": {"type": "null"}}}), "p")
    assert reduced["$ref"] == "#/$defs/root1"
    assert reduced["$defs"]["root1"]["properties"]["next"]["anyOf"][0] == {"$ref": "#/$defs/root1"}


def test_definitions_that_nothing_needs_go() -> None:
    assert parse_schema('{"type": "null", "$defs": {"a": {"type": "string"}}}', "p") == {"type": "null"}


@pytest.mark.parametrize(
    "way_out",
    [
        {"type": "array", "items": {"$ref": "#"}},
        {"type": ["array", "string"], "items": {"$ref": "#"}, "minItems": 1},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"oneOf": [{"type": "array", "items": {"$ref": "#"}, "minItems": 1}, {"const": 1}]},
        {"minItems": 1, "items": {"$ref": "#"}},
    ],
)
def test_a_schema_that_refers_to_itself_is_taken_when_it_can_end(way_out: dict[str, Any]) -> None:
    assert parse_schema(json.dumps(way_out), "p")["$ref"] == "#/$defs/root0"


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "objct"}, "/type must be of"),
        ({"$ref": "https://example.com/schema"}, r"/\$ref refers to nothing in the schema's own \$defs"),
        ({"$ref": "#/properties/a", "properties": {"a": {}}}, r"/\$ref cannot stand beside other keywords"),
        ({"anyOf": [{"$ref": "#/$defs/b"}], "$defs": {"a": {}}}, r"/anyOf/0/\$ref refers to nothing"),
        ({"$ref": 7, "$defs": {}}, r"/\$ref refers to nothing"),
        ({"$defs": {"a~1b": {}}}, r"/\$defs must be an object whose names"),
        ({"$defs": []}, r"/\$defs must be an object"),
        ({"$defs": {"a": {}}, "definitions": {"a": {}}}, "/definitions/a is defined twice"),
        ({"$defs": {f"d{n}": {} for n in range(65)}}, "more than 64 definitions"),
        ({"items": {"$defs": {"a": {}}}}, r"/items/\$defs is a keyword that is not supported"),
        ({"$ref": "#"}, "the schema can never be satisfied"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, r"/\$defs/a can never be satisfied"),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "can never be satisfied"),
        (ENDLESS_PAIR, r"/\$defs/a can never be satisfied"),
        ({"allOf": [{"type": "string"}, {"maxLength": 3}]}, "/allOf is not a list of one schema"),
        ({"type": "string", "allOf": [{"maxLength": 3}]}, "/allOf cannot stand beside other keywords"),
        ({"type": "string", "format": "iri"}, "/format must be one of date, date-time"),
        ({"type": "string", "format": []}, "/format must be one of"),
        (lists_within_lists(5, 4096), "has lists of more than 16,384 items together"),
        (
            {"type": "object", "properties": {key: {"type": "array", "maxItems": 4096} for key in "abcde"}},
            "/properties/e has lists of more than 16,384 items together",
        ),
        (
            {"items": {"$ref": "#/$defs/a"}, "maxItems": 4096, "$defs": {"a": lists_within_lists(4, 4096)}},
            "has lists of more than 16,384 items together",
        ),
        ({"type": "object", "properties": {"a": {"pattern": "^(?!a).+$"}}}, "/properties/a/pattern is no regular"),
        ({"pattern": "^((a{100}){100}){100}$"}, "/pattern is no regular expression that can be held"),
        ({"pattern": 7}, "/pattern is no regular"),
        ({"prefixItems": [{"pattern": f"^[a-z]{{1900}}{n}"} for n in range(5)]}, "/pattern is too much"),
        ({"multipleOf": 0}, "/multipleOf must be a whole number up to 1,000"),
        ({"multipleOf": 1e-300}, "/multipleOf must be"),
        ({"uniqueItems": True}, "/uniqueItems is a keyword that is not supported"),
        ({"propertyNames": {"enum": ["a"]}}, "/propertyNames is a keyword"),
        ({"patternProperties": {"(?=x)": {}}}, "/patternProperties/"),
        ({"prefixItems": [{"$ref": "#"}], "minItems": 1, "type": "array"}, "can never be satisfied"),
        (
            {"type": "object", "patternProperties": {"a": {"$ref": "#"}}, "minProperties": 1}
            | {"additionalProperties": False},
            "can never be satisfied",
        ),
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


def loose(schema: Any, hold: Hold = Hold.WHOLE) -> dict[str, Any]:
    return parse_schema(json.dumps(schema), "p", strict=False, hold=hold)


LENGTHS = {"minLength": "string", "maxLength": "string", "minItems": "array", "maxItems": "array"}


@pytest.mark.parametrize(("keyword", "kind"), LENGTHS.items())
def test_a_length_beyond_what_a_grammar_counts_is_left_to_the_model_unless_strict(keyword: str, kind: str) -> None:
    for size in (4097, 10_000, 10**30):
        schema = {"type": kind, keyword: size}
        assert keyword not in loose(schema)
        with pytest.raises(InvalidRequest, match=keyword):
            parse_schema(json.dumps(schema), "p", strict=True)
    assert loose({"type": kind, keyword: 100.0})[keyword] == 100, "a whole number, however it is written"


def test_exclusive_bounds_of_older_drafts_are_held() -> None:
    older = {"type": "integer", "minimum": 1, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": False}
    assert loose(older) == {"type": "integer", "exclusiveMinimum": 1, "maximum": 9}


@pytest.mark.parametrize("name", ["R<string,int>", "My Model", "Größe", "a/b"])
def test_definitions_under_other_names_are_left_to_the_model_and_the_others_held(name: str) -> None:
    properties = {"a": {"$ref": f"#/$defs/{name}"}, "b": {"$ref": "#/$defs/plain"}}
    defined = {name: {"type": "null"}, "plain": {"type": "null"}}
    held = loose({"type": "object", "properties": properties, "$defs": defined})
    assert held["properties"] == {"a": {}, "b": {"$ref": "#/$defs/plain"}}
    assert held["$defs"] == {"plain": {"type": "null"}}


def test_more_definitions_than_a_grammar_takes_are_left_to_the_model() -> None:
    names = [f"d{number}" for number in range(200)]
    properties = {name: {"$ref": f"#/$defs/{name}"} for name in names}
    held = loose({"type": "object", "properties": properties, "$defs": {name: {"type": "null"} for name in names}})
    assert held["properties"]["d0"] == {"$ref": "#/$defs/d0"}
    assert held["properties"]["d199"] == {}


@pytest.mark.parametrize(
    ("schema", "held"),
    [
        ({"type": "string", "format": "iri"}, {"type": "string"}),
        ({"type": "string", "pattern": "^(?!x)a$", "maxLength": 3}, {"type": "string", "maxLength": 3}),
        ({"type": "string", "pattern": "^a+$"}, {"type": "string", "pattern": "^a+$"}),
        ({"type": "string", "format": "uri", "maxLength": 9}, {"type": "string", "maxLength": 9, "pattern": URI}),
        (
            {"type": "string", "format": "uri", "pattern": "x"},
            {"type": "string", "allOf": [{"pattern": "x"}, {"pattern": URI}]},
        ),
        ({"type": "integer", "multipleOf": 5}, {"type": "integer", "multipleOf": 5}),
        ({"type": "integer", "multipleOf": 99991}, {"type": "integer"}),
        (
            {"type": "array", "items": {"type": "null"}, "uniqueItems": True},
            {"type": "array", "items": {"type": "null"}},
        ),
        (
            {"type": "array", "items": [{"type": "null"}, True], "additionalItems": False},
            {"type": "array", "prefixItems": [{"type": "null"}, {}], "maxItems": 2},
        ),
        ({"type": "array", "items": False}, {"type": "array", "maxItems": 0}),
        ({"not": {"const": 1}, "if": {}, "then": {}, "dependentRequired": {}, "contains": {}}, {}),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, {"anyOf": [{"type": "number"}, {"type": "integer"}]}),
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
        ({"$ref": "https://example.com/schema"}, {}),
        ({"properties": {"a": True, "b": False}}, {"properties": {"a": {}}, "additionalProperties": False}),
        (
            {"properties": {}, "required": ["b"]},
            {"properties": {"b": {}}, "required": ["b"], "additionalProperties": False},
        ),
        (
            {"$defs": {"C": {"enum": ["r", "g"]}}, "propertyNames": {"$ref": "#/$defs/C"}}
            | {"type": "object", "additionalProperties": {"type": "integer"}},
            {"type": "object", "properties": {"r": {"type": "integer"}, "g": {"type": "integer"}}}
            | {"additionalProperties": False},
        ),
        (
            {"propertyNames": {"pattern": "^a"}, "additionalProperties": {"type": "null"}},
            {"patternProperties": {"^a": {"type": "null"}}, "additionalProperties": False},
        ),
        (
            {"patternProperties": {"^(?=a)": {}, "^b": {}}, "additionalProperties": False},
            {"patternProperties": {"^b": {}}, "additionalProperties": True},
        ),
        ({"propertyNames": {"pattern": "^(?=a)"}}, {}),
        (
            {
                "$defs": {"A": {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}},
                "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": {"type": "null"}}, "required": ["b"]}],
            },
            {
                "type": "object",
                "properties": {"a": {"type": "null"}, "b": {"type": "null"}},
                "required": ["a", "b"],
                "additionalProperties": False,
            },
        ),
    ],
)
def test_what_is_not_strict_is_held_as_far_as_grammars_can(schema: Any, held: dict[str, Any]) -> None:
    reduced = loose(schema)
    assert reduced == held
    assert "allOf" in held or loose(held) == held, "what was held once is not loosened further"


def test_a_schema_can_be_held_less() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^a$", "maxLength": 3}}}
    plain = {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "additionalProperties": False}
    assert loose(schema, Hold.PLAIN) == plain
    assert loose(schema, Hold.FORM) == {"type": "object"}
    assert loose({"type": ["object"]}, Hold.FORM) == {}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objct"},
        {"properties": 7},
        {"enum": []},
        {"minimum": "1"},
        {"pattern": 7},
        {"multipleOf": "x"},
        {"items": 7},
        {"prefixItems": {}},
        {"required": "a"},
        {"allOf": 7},
        {"$ref": "#"},
        nested(13),
        nested(60),
        [],
        "x",
    ],
)
def test_what_is_malformed_or_without_end_is_refused_though_not_strict(schema: Any) -> None:
    with pytest.raises(InvalidRequest):
        loose(schema)


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 0),
        ("^[a-z]{3}-\\d+$", 15),
        ("(?:ab|c){2,5}", 25),
        ("(?<year>a)", 2),
        ("a+b*", 18),
        ("(?P<year>a)", 2),
        ("\\p{L}\\u0041", 2),
        ("[]a]", 1),
        ("a{,3}", 3),
    ],
)
def test_the_cost_of_a_pattern_is_its_size_with_repeats_written_out(pattern: str, size: int) -> None:
    assert json_patterns.cost(pattern) == size


@pytest.mark.parametrize(
    "pattern",
    [
        *("(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(a)\\1", "\\bx", "(a", "a)", "a{1,x}", "[a", "a\\", "\\k<a>"),
        *("(" * 100 + ")" * 100, "a{2001}", ".*" * 500, "((a{100}){100}){100}", "x" * 2001, "(?#c)", "(?(1)a|b)"),
    ],
)
def test_a_pattern_that_cannot_be_held_is_known(pattern: str) -> None:
    assert json_patterns.cost(pattern) is None


KEYWORDS = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "propertyNames",
    "items",
    "prefixItems",
    "additionalItems",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "not",
    "$ref",
    "format",
    "pattern",
    "multipleOf",
    "minLength",
    "maxItems",
    "minItems",
    "minProperties",
    "minimum",
    "nullable",
    "$defs",
    "definitions",
    "uniqueItems",
    "a",
    "b",
]
ATOMS = st.sampled_from(
    [None, True, False, 0, 5, -1, 1.5, 1e300, 10**30, "string", "array", "#", "#/$defs/a", "uri", "^a"]
)
JUNK = st.recursive(
    ATOMS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(JUNK, st.sampled_from(Hold), st.booleans())
def test_whatever_a_schema_is_it_is_refused_or_held(schema: Any, hold: Hold, strict: bool) -> None:
    try:
        held = parse_schema(json.dumps(schema), "p", strict=strict, hold=hold)
    except InvalidRequest:
        return
    assert isinstance(held, dict)
