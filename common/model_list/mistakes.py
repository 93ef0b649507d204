"""From pydantic's findings to one sentence with file, line and field."""

from __future__ import annotations

from typing import Any, NoReturn

from pydantic import ValidationError

from common.model_list.document import TAG, Document, Location
from common.model_list.schema import (
    ENGINES,
    FIELDS_OF_ENGINES,
    FIELDS_OF_MODELS,
    FIELDS_OF_TARGETS,
    SEVERAL,
    ListFields,
    PriceFields,
)

MISSING = "is missing"
ARM = "function-before["  # pydantic's name for the arm of an optional field
SENTENCES = {
    "missing": MISSING,
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}


def fail(document: Document, found: ValidationError) -> NoReturn:
    """Raises StartupError with the first mistake in the file. What is missing may be misspelt there: it comes last."""
    mistakes = [_mistake(document, error) for error in found.errors(include_url=False, include_input=False)]
    line, location, problem = min(mistakes, key=lambda mistake: (mistake[2] == MISSING, mistake[0]))
    if (location, problem) == (("models",), MISSING):
        document.fail((), "it needs a mapping `models:`")
    document.fail(location, problem, line)


def _mistake(document: Document, error: Any) -> tuple[int, Location, str]:
    location = tuple(part for part in error["loc"] if not str(part).startswith(ARM))
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return document.key_line(location), location, _unknown(location)
        case "union_tag_invalid" | "union_tag_not_found":
            return _engine(document, location, str(context.get("tag", TAG)).removeprefix(TAG))
        case "refused":
            location = (*location, *context.get("field", ()))
            return document.line(location), location, str(context["problem"])
    return document.line(location), location, SENTENCES.get(error["type"], str(error["msg"]))


def _engine(document: Document, location: tuple[str | int, ...], name: str) -> tuple[int, Location, str]:
    if not document.is_mapping(location):
        return document.line(location), location, "must be a mapping"
    location = (*location, "engine")
    known = ", ".join(ENGINES)
    problem = f"unknown engine {name!r}; known: {known}" if name else document.needed(location)
    return document.line(location), location, problem


def _unknown(location: tuple[str | int, ...]) -> str:
    *above, field = location
    engine = str(above[-1]).removeprefix(TAG) if above else ""
    if not above:
        return _known("unknown field", ListFields.model_fields)
    if above[-1] == "price":
        return _known("unknown field", PriceFields.model_fields)
    if above[-1] == SEVERAL and field in FIELDS_OF_ENGINES:
        return "belongs into a target when there are `targets:`"
    in_target = isinstance(above[-2], int)
    if engine in ENGINES and (in_target or field in FIELDS_OF_ENGINES):
        return _known(f"unknown field of engine {engine}", FIELDS_OF_TARGETS[engine])
    return _known("unknown field", FIELDS_OF_MODELS)


def _known(problem: str, fields: Any) -> str:
    return f"{problem}; known: {', '.join(sorted(fields))}"
