"""Loaded by each process of the platform under test as `sitecustomize`: defects where a request asks for one by name.

A word in the prompt picks what breaks: "break-edge" and "break-inference" raise an exception that quotes the request,
as a library's might; "confess" writes the request to the log, so that the search for canaries is known to find.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

PLACES = {
    "services.edge.endpoints.chat.to_work": ("to_proto", "break-edge"),
    "services.inference.convert": ("to_request", "break-inference"),
}


class Finder:
    """Finds a module as always, and wraps one of its functions once it is loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in PLACES:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)  # type: ignore[arg-type]
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            function, word = PLACES[name]
            setattr(module, function, breaking(getattr(module, function), word))

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def breaking(original: Any, word: str) -> Any:
    """The function, with a defect for requests that hold the word."""

    def broken(request: Any, *rest: Any) -> Any:
        said = str(request)
        if word in said:
            raise RuntimeError(f"cannot handle {said}")
        if "confess" in said:
            from servicekit.observability.logging import get_logger

            get_logger("breakage").info("request_taken", request=said)
        return original(request, *rest)

    return broken


sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
