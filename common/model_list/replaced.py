"""A model list whose embedded models run another file: a short way to try one without writing a list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from common.model_list.entries import LlamaTarget, ModelEntry, ModelList, Target
from common.model_list.targets import DEFAULT_PROJECTOR


def with_model_file(models: ModelList, file: Path | None) -> ModelList:
    """The list with `file` in every llama target; None: as it is.

    A projector fits one model only, so the shipped one goes together with the shipped model, and vision with it. A
    projector that the operator named stays.
    """
    if file is None:
        return models
    return ModelList({name: _with(entry, file) for name, entry in models.models.items()})


def _with(entry: ModelEntry, file: Path) -> ModelEntry:
    targets = tuple(_target(target, file) for target in entry.targets)
    embedded = [target for target in targets if isinstance(target, LlamaTarget)]
    blind = {"vision"} if any(target.projector is None for target in embedded) else set()
    return replace(entry, targets=targets, abilities=entry.abilities - blind)


def _target(target: Target, file: Path) -> Target:
    if not isinstance(target, LlamaTarget):
        return target
    return replace(target, file=file, projector=None if target.projector == DEFAULT_PROJECTOR else target.projector)
