"""The models that keys may use, in the form that the routes see."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Generic, TypeVar

Told = TypeVar("Told")
Shown = TypeVar("Shown")


class ModelCatalogue(Generic[Told, Shown]):
    """Converts each model once for each list that inference reports, not at each request."""

    def __init__(self, show: Callable[[Told], Shown]) -> None:
        self._show = show
        self._reported: Mapping[str, Told] = {}
        self._by_alias: dict[str, Shown] = {}
        self._all: Sequence[Shown] = ()

    def usable(self, reported: Mapping[str, Told], allowed: Container[str]) -> Sequence[Shown]:
        """Those in `allowed`; all when it is empty, the same object until another list is reported."""
        if reported is not self._reported:
            self._reported = reported
            self._by_alias = {alias: self._show(model) for alias, model in reported.items()}
            self._all = tuple(self._by_alias.values())
        if not allowed:
            return self._all
        return [shown for alias, shown in self._by_alias.items() if alias in allowed]
