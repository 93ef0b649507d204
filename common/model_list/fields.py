"""The types of the list's fields. YAML's values come as text; every check says what is wrong in one sentence."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, NoReturn

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
A_NAME = "1 to 100 letters, digits and . _ : / -"
MAX_CONTEXT_LENGTH = 10_000_000


def refuse(problem: str) -> NoReturn:
    """Fails a field's check with a sentence."""
    raise PydanticCustomError("refused", "{problem}", {"problem": problem})


def refuse_field(problem: str, *field: str) -> NoReturn:
    """Fails the check of a whole entry with a sentence about one of its fields: ("headers", "host")."""
    raise PydanticCustomError("refused", "{problem}", {"problem": problem, "field": field})


def is_name(text: str) -> bool:
    """Whether a model can be called so."""
    return NAME.fullmatch(text) is not None


def check_text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        refuse("must be a string")
    return value


def check_name(value: Any) -> str:
    """A name that clients or errors may use."""
    text = check_text(value)
    if not is_name(text):
        refuse(f"{text!r} is not a name: {A_NAME}")
    return text


def check_list(value: Any) -> list[Any]:
    """A list of anything."""
    if not isinstance(value, list):
        refuse("must be a list")
    return value


def whole(least: int, most: int) -> Any:
    """A whole number within bounds."""

    def check(value: Any) -> int:
        if not isinstance(value, str) or not re.fullmatch(r"\d{1,18}", value):
            refuse("must be a whole number, 0 or more")
        number = int(value)
        if not least <= number <= most:
            refuse(f"must be {least} to {most}, not {number}")
        return number

    return Annotated[int, Field(ge=least, le=most), BeforeValidator(check)]


def seconds(most: float) -> Any:
    """A time above 0."""

    def check(value: Any) -> float:
        if not isinstance(value, str) or not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value):
            refuse("must be a number of seconds")
        if not 0 < float(value) <= most:
            refuse(f"must be above 0 and at most {most:g} seconds, not {value}")
        return float(value)

    return Annotated[float, Field(gt=0, le=most), BeforeValidator(check)]


def one_of(known: Collection[str]) -> Any:
    """One of a few words."""

    def check(value: Any) -> str:
        text = check_text(value)
        if text not in known:
            refuse(f"unknown {text!r}; known: {', '.join(known)}")
        return text

    return Annotated[str, WithJsonSchema({"type": "string", "enum": list(known)}), BeforeValidator(check)]


def some_of(known: Collection[str]) -> Any:
    """A list of words, each of them known."""

    def check(value: Any) -> frozenset[str]:
        names = frozenset(check_name(item) for item in check_list(value))
        if wrong := names - frozenset(known):
            refuse(f"unknown {', '.join(sorted(wrong))}; known: {', '.join(sorted(known))}")
        return names

    schema = {"type": "array", "items": {"type": "string", "enum": sorted(known)}}
    return Annotated[frozenset[str], WithJsonSchema(schema), BeforeValidator(check)]


def _check_names(value: Any) -> list[str]:
    return [check_name(item) for item in check_list(value)]


Text = Annotated[str, Field(min_length=1), BeforeValidator(check_text)]
_NAME_SCHEMA = {"type": "string", "pattern": f"^{NAME.pattern}$"}
Name = Annotated[str, WithJsonSchema(_NAME_SCHEMA), BeforeValidator(check_name)]
Names = Annotated[list[str], WithJsonSchema({"type": "array", "items": _NAME_SCHEMA}), BeforeValidator(_check_names)]
