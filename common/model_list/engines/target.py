"""What the entries of all engines have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from common.model_list.document import Place
from common.model_list.engines.secret import Secret, Tokenizer
from common.model_list.fields import MAX_CONTEXT_LENGTH, Name, whole


class Target:
    """An engine that can answer for a model. Each kind of engine has a frozen dataclass of its own."""

    name: str  # in logs and metrics
    context_length: int  # tokens, prompt and answer together
    weight: int
    order: int
    secret: Secret | None = None
    tokenizer: Tokenizer | None = None  # what counts its tokens here, where something does
    unsupported: frozenset[str] = frozenset()  # fields of requests that it ignores or refuses

    @property
    def vision(self) -> bool | None:
        """Whether it has what turns pictures into its language; None: the model's `abilities` say so."""
        return None

    def with_model_file(self, file: Path) -> Target:
        """The same with another model file, where it runs one."""
        return self


class TargetFields(BaseModel):
    """What every target below `targets:` may have beside its engine's own fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name | SkipJsonSchema[None] = Field(None, description="in logs and metrics")
    weight: whole(1, 1000) = Field(1, description="its share of the model's load")  # type: ignore[valid-type]
    order: whole(1, 100) = Field(  # type: ignore[valid-type]
        1, description="who goes first: one of order 2 only while none of order 1 is healthy"
    )
    context_length: whole(64, MAX_CONTEXT_LENGTH) | SkipJsonSchema[None] = Field(  # type: ignore[valid-type]
        None, description="of this target, if it differs: tokens, prompt and answer together"
    )


@dataclass(frozen=True)
class Surroundings:
    """What a target is made of beside its engine's own fields. `place` gives the place of one of these."""

    folder: Path  # files are relative to it
    place: Callable[[str], Place]
    name: str | None
    context_length: int
    weight: int = 1
    order: int = 1


class EngineEntry(BaseModel, ABC):
    """One kind of engine: the fields that it needs, and the target that they make. `engine` is a Literal: its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @abstractmethod
    def target(self, around: Surroundings) -> Target:
        """The target that this entry describes."""
