"""What a GGUF file says of itself: its control tokens for inference, the rest for whoever adds it to a model list.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import re
import struct
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO

from servicekit.errors import StartupError

TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
SAMPLING = "general.sampling."
UNKNOWN, CONTROL, BYTE = 2, 3, 6  # llama.cpp's LLAMA_TOKEN_TYPE_…; it reads the first two as no plain text
MARKED = re.compile(r"[▁_Ġ]?[<\[].{1,100}[>\]]", re.DOTALL)
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
MAX_FIELDS = 65_536
MAX_ITEMS = 4_000_000  # of all arrays together: the largest vocabularies have 300,000 tokens and 600,000 merges
MAX_STRING_BYTES = 16 * 1024 * 1024
MAX_NESTING = 4  # of arrays in arrays
FEW = 1024  # items of an array that is a fact of the model, as the heads of each layer, and no part of its vocabulary


def control_tokens(file: Path) -> list[str]:
    """The texts of the model's control tokens. Raises StartupError when the file's description cannot be read."""
    found = _read(file, {TOKENS, TYPES})
    tokens, types = _texts(file, found), found.get(TYPES, [])
    if not isinstance(types, tuple | list):
        raise _damaged(file)
    return [token for token, kind in zip(tokens, types, strict=False) if kind in (UNKNOWN, CONTROL) and token]


def marked_tokens(file: Path) -> list[str]:
    """Other tokens that look like control tokens, "<…>": llama.cpp takes some for such by their names. Raises
    StartupError likewise."""
    found = _read(file, {TOKENS, TYPES})
    kinds = found.get(TYPES, [])
    if not isinstance(kinds, tuple | list):
        raise _damaged(file)
    both = zip_longest(_texts(file, found), kinds)
    return [token for token, kind in both if token and MARKED.fullmatch(token) and kind not in (UNKNOWN, CONTROL, BYTE)]


def longest_token(file: Path) -> int:
    """Bytes of the longest token's text, at least 1. Raises StartupError likewise."""
    return max((len(token.encode()) for token in _texts(file, _read(file, {TOKENS}))), default=1) or 1


def sampling(file: Path) -> dict[str, float]:
    """What the file advises for sampling, of `temp`, `top_p`, `top_k` and `min_p`. Raises StartupError likewise."""
    found = _read(file, {f"{SAMPLING}{name}" for name in ("temp", "top_p", "top_k", "min_p")})
    return {key.removeprefix(SAMPLING): value for key, value in found.items() if isinstance(value, int | float)}


def facts(file: Path) -> dict[str, Any]:
    """Every field of the file's description but long arrays, such as its vocabulary. Raises StartupError."""
    return {key: value for key, value in _read(file, None).items() if not _is_long(value)}


def _texts(file: Path, found: dict[str, Any]) -> list[str]:
    tokens = found.get(TOKENS, [])
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise _damaged(file)
    return tokens


def _is_long(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > FEW


def _damaged(file: Path) -> StartupError:
    return StartupError(f"the model {file} is damaged or cut short; fetch or export it again")


def _read(file: Path, wanted: set[str] | None) -> dict[str, Any]:
    """The wanted fields; None: all."""
    try:
        with file.open("rb") as opened:
            return _Description(opened, os.fstat(opened.fileno()).st_size).find(wanted)
    except OSError as error:
        raise StartupError(f"cannot read the model {file}: {error.strerror}") from None
    except (struct.error, ValueError, LookupError, OverflowError, MemoryError):
        raise _damaged(file) from None


class _Description:
    """Reads a file's description. Whatever lengths it claims, no more is read than it has, and only what is wanted is
    kept. Raises ValueError, LookupError and struct.error for a damaged one."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._items = 0

    def find(self, wanted: set[str] | None) -> dict[str, Any]:
        """The fields of these names."""
        magic, _, _, fields = struct.unpack("<4sIQQ", self._bytes(24))
        if magic != b"GGUF":
            raise ValueError("a GGUF file begins with the letters GGUF")
        if fields > MAX_FIELDS:
            raise ValueError("more fields than any model's")
        found: dict[str, Any] = {}
        for _ in range(fields):
            key = self._string()
            (kind,) = struct.unpack("<I", self._bytes(4))
            value = self._value(kind, 0)
            if wanted is None or key in wanted:
                found[key] = value
            if wanted is not None and len(found) == len(wanted):
                break
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            return self._array(depth + 1)
        code = f"<{SCALARS[kind]}"
        return struct.unpack(code, self._bytes(struct.calcsize(code)))[0]

    def _array(self, depth: int) -> Any:
        item, length = struct.unpack("<IQ", self._bytes(12))
        self._items += length
        if self._items > MAX_ITEMS or depth > MAX_NESTING:
            raise ValueError("more in arrays than any model has")
        if item in SCALARS:
            code = f"<{length}{SCALARS[item]}"
            return struct.unpack(code, self._bytes(struct.calcsize(code)))
        return [self._value(item, depth) for _ in range(length)]

    def _string(self) -> str:
        (length,) = struct.unpack("<Q", self._bytes(8))
        if length > MAX_STRING_BYTES:
            raise ValueError("a string is longer than any model's")
        return self._bytes(length).decode("utf-8", errors="replace")

    def _bytes(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise ValueError("the file ends before that")
        return self._file.read(count)
