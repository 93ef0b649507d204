"""The shape of a model list: pydantic classes, a union over the engines, and from them the JSON Schema for editors.

`python -m common.model_list` writes common/models.schema.json anew.
"""

from __future__ import annotations

import json
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, create_model

from common.model_list.document import TAG
from common.model_list.engines import ENTRIES
from common.model_list.engines.target import EngineEntry, TargetFields
from common.model_list.fields import MAX_CONTEXT_LENGTH, Name, Names, check_list, refuse, some_of, whole

ABILITIES = frozenset({"tools", "vision", "json"})
MAX_PRICE = 10**12  # credits for a million tokens: keeps every product of tokens and price inside 64 bits
MAX_TARGETS = 32  # of one model
SEVERAL = f"{TAG}targets"  # the arm of a model with `targets:`; the others are of its engine
SCHEMA_FILE = Path(__file__).parents[1] / "models.schema.json"


class PriceFields(BaseModel):
    """Credits for a million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: whole(0, MAX_PRICE)  # type: ignore[valid-type]
    output: whole(0, MAX_PRICE)  # type: ignore[valid-type]


class ModelFields(BaseModel):
    """What every model has, whatever answers for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    context_length: whole(64, MAX_CONTEXT_LENGTH) = Field(  # type: ignore[valid-type]
        description="tokens, prompt and answer together"
    )
    abilities: some_of(ABILITIES) = Field(  # type: ignore[valid-type]
        frozenset(), description="what clients may ask for; vision comes with a projector"
    )
    price: PriceFields = Field(description="credits for a million tokens")
    aliases: Names = Field(default_factory=list, description="other names that clients may use")


def engine_of(fields: Any) -> str:
    """The arm of the union that a target's or a model's own fields belong to."""
    if isinstance(fields, dict) and "targets" in fields:
        return SEVERAL
    engine = fields.get("engine") if isinstance(fields, dict) else getattr(fields, "engine", None)
    return f"{TAG}{engine}" if isinstance(engine, str) else TAG


def engine_name(entry: type[EngineEntry]) -> str:
    """What `engine:` says for it."""
    (name,) = entry.model_fields["engine"].annotation.__args__  # type: ignore[union-attr]
    return str(name)


def _count_targets(value: Any) -> list[Any]:
    targets = check_list(value)
    if not 1 <= len(targets) <= MAX_TARGETS:
        refuse(f"must have 1 to {MAX_TARGETS} targets, not {len(targets)}")
    return targets


def _arm(kind: str, base: type[BaseModel], entry: type[EngineEntry]) -> Any:
    name = engine_name(entry)
    made = create_model(f"{name.title()}{kind}", __base__=(base, entry), __doc__=entry.__doc__)
    return Annotated[made, Tag(f"{TAG}{name}")]


AnyTarget: Any = Annotated[
    reduce(or_, (_arm("Target", TargetFields, entry) for entry in ENTRIES)), Discriminator(engine_of)
]


class ModelWithTargets(ModelFields):
    """A model that several engines or servers answer for."""

    targets: Annotated[list[AnyTarget], BeforeValidator(_count_targets)] = Field(
        min_length=1, max_length=MAX_TARGETS, description="who answers for the model"
    )


_ALONE: Any = reduce(or_, (_arm("Model", ModelFields, entry) for entry in ENTRIES))
AnyModel: Any = Annotated[Annotated[ModelWithTargets, Tag(SEVERAL)] | _ALONE, Discriminator(engine_of)]


class ListFields(BaseModel):
    """A list of models for MUHGPT (docs/models.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[str, AnyModel] = Field(description="by canonical id, which charges and usage name")
    aliases: dict[str, Name] = Field(default_factory=dict, description="names of models, or of other aliases")


ENGINES = {engine_name(entry): entry for entry in ENTRIES}
FIELDS_OF_ENGINES = frozenset(field for entry in ENTRIES for field in entry.model_fields)
FIELDS_OF_MODELS = frozenset(ModelWithTargets.model_fields) | FIELDS_OF_ENGINES
FIELDS_OF_TARGETS = {name: {*entry.model_fields, *TargetFields.model_fields} for name, entry in ENGINES.items()}


def json_schema() -> str:
    """For editors: completion, descriptions, and mistakes as they are typed."""
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **ListFields.model_json_schema()}
    return json.dumps(_plain(document), indent=1) + "\n"


def _plain(schema: Any) -> Any:
    """Without titles that only repeat names, and defaults that say "absent"."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: _plain(value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str)) and not (name == "default" and value is None)
    }
