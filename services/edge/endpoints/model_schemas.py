"""Schemas of answers that FastAPI does not describe itself."""

from __future__ import annotations

from pydantic import BaseModel

from services.edge.endpoints.endpoint import COMPONENTS, Schemas


def model_schemas(model: type[BaseModel]) -> Schemas:
    """The component schemas of a model, its own among them."""
    schema = model.model_json_schema(ref_template=COMPONENTS + "{model}", mode="serialization")
    schemas: Schemas = schema.pop("$defs", {})
    schemas[model.__name__] = schema
    return schemas
