"""What an endpoint says of its bodies, so that they can be read in this process or in another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

from services.edge.http.limits import RequestLimits

Parsed = TypeVar("Parsed")
Body = bytes | bytearray
Packed = tuple[bytes, bytes | bytearray]  # a short JSON document, and the serialised work message


@dataclass(frozen=True, slots=True)
class BodyFormat(Generic[Parsed]):
    """How an endpoint's bodies are read."""

    name: str  # "module:attribute" of this object: parser processes import it
    parse: Callable[[Body, RequestLimits], Parsed]  # all of it, in this process; raises ApiError 400
    pack: Callable[[Parsed], Packed]  # for another process …
    unpack: Callable[[bytes, bytes | bytearray], Parsed]  # … and back


def load(name: str) -> BodyFormat[Any]:
    """The format of this name."""
    module, _, attribute = name.partition(":")
    found: BodyFormat[Any] = getattr(import_module(module), attribute)
    return found
