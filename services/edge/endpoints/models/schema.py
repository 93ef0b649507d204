"""What the models endpoints answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Ability = Literal["tools", "vision", "json"]


class ModelObject(BaseModel):
    """One model alias."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Unix time")
    owned_by: str
    context_length: int = Field(description="Tokens, prompt and answer together")
    abilities: list[Ability] = Field(description="What requests may ask of it beside text")


class ModelList(BaseModel):
    """The aliases that the key may use."""

    object: Literal["list"] = "list"
    data: list[ModelObject]
