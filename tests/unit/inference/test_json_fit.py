"""What fits a schema, as far as a grammar could have held it, and that no schema takes long."""

from __future__ import annotations

import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.domain.json.fit import fits

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3) | st.text("ab", max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
TYPES = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])
PLAIN = st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=2, unique=True),
        "enum": st.lists(SCALARS, min_size=1, max_size=3),
        "const": SCALARS,
        "minimum": st.integers(-2, 2),
        "exclusiveMaximum": st.integers(-2, 2),
        "minLength": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "required": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
    },
)
SCHEMAS = st.recursive(
    PLAIN | st.booleans(),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    ),
    max_leaves=5,
)


@given(VALUES, SCHEMAS)
def test_it_says_what_a_validator_says(value: Any, schema: Any) -> None:
    assert fits(value, schema) is jsonschema.Draft202012Validator(schema).is_valid(value)


def test_references_within_the_schema_are_followed() -> None:
    schema = {"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#"}}}}}
    assert fits({"next": {"next": {}}}, schema)
    assert not fits({"next": {"next": 7}}, schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#", "required": ["z"]}, {"$ref": "#"}]},
        {"$ref": "http://127.0.0.1:1/schema"},
        {"pattern": "(a+)+$", "properties": {"a": {"pattern": "(a+)+$"}}},
        {"type": 5, "enum": 7, "minimum": "x", "required": {"a": 1}, "properties": [], "anyOf": {}, "items": 3},
        {
            "allOf": [{"anyOf": [{"$ref": "#/x"}] * 50}] * 50,
            "x": {"anyOf": [{"$ref": "#/y"}] * 99},
            "y": {"type": "null"},
        },
    ],
)
def test_no_schema_takes_long(schema: Any) -> None:
    started = time.process_time()
    fits({"a": "a" * 40 + "!"}, schema)
    assert time.process_time() - started < 1
