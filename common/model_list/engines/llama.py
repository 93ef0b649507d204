"""`engine: llama`, a model that llama.cpp runs inside the inference service."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from common.model_list.engines.target import EngineEntry, Surroundings, Target
from common.model_list.fields import Text

DEFAULT = "default"
# Stand for the model and the projector that come with the project; inference knows where they are. Other files in a
# list are absolute, so that none can be taken for one of these.
DEFAULT_FILE = Path(DEFAULT)
DEFAULT_PROJECTOR = Path(DEFAULT)


@dataclass(frozen=True)
class LlamaTarget(Target):
    """A model that llama.cpp runs inside the inference service."""

    name: str
    file: Path | None  # None: the model that comes with the project, too
    context_length: int  # tokens, prompt and answer together
    projector: Path | None = None  # what turns pictures into the model's own language
    weight: int = 1
    order: int = 1

    @property
    def vision(self) -> bool:
        return self.projector is not None

    def with_model_file(self, file: Path) -> LlamaTarget:
        """A projector fits one model only, so the shipped one goes with the shipped model; one that was named stays."""
        return replace(self, file=file, projector=None if self.projector == DEFAULT_PROJECTOR else self.projector)


class LlamaEntry(EngineEntry):
    """llama.cpp inside the inference service."""

    engine: Literal["llama"]
    file: Text | SkipJsonSchema[None] = Field(
        None, description="a GGUF, relative to this file; `default`: the model that comes with the project"
    )
    projector: Text | SkipJsonSchema[None] = Field(None, description="the projector made for this model; gives vision")

    def target(self, around: Surroundings) -> LlamaTarget:
        """See EngineEntry."""
        return LlamaTarget(
            name=around.name or "llama",
            file=_path(self.file, around.folder),
            context_length=around.context_length,
            projector=_path(self.projector, around.folder),
            weight=around.weight,
            order=around.order,
        )


def _path(text: str | None, folder: Path) -> Path | None:
    if text is None or text == DEFAULT:
        return None if text is None else Path(DEFAULT)
    return (folder / text).resolve()
