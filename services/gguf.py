"""What a GGUF file says of itself: its control tokens for inference, the rest for whoever adds it to a model list.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from servicekit.errors import StartupError

TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
SAMPLING = "general.sampling."
CONTROL = 3  # llama.cpp's LLAMA_TOKEN_TYPE_CONTROL
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
MOST_ITEMS = 10_000_000  # of an array; a damaged length must not take the memory
FEW = 1024  # items of an array that is a fact of the model, as the heads of each layer, and no part of its vocabulary


def control_tokens(file: Path) -> list[str]:
    """The texts of the model's control tokens. Raises StartupError when the file's description cannot be read."""
    found = _read(file, {TOKENS, TYPES})
    tokens, types = found.get(TOKENS, []), found.get(TYPES, [])
    return [token for token, kind in zip(tokens, types, strict=False) if kind == CONTROL and token]


def sampling(file: Path) -> dict[str, float]:
    """What the file advises for sampling, of `temp`, `top_p`, `top_k` and `min_p`. Raises StartupError likewise."""
    found = _read(file, {f"{SAMPLING}{name}" for name in ("temp", "top_p", "top_k", "min_p")})
    return {key.removeprefix(SAMPLING): value for key, value in found.items() if isinstance(value, int | float)}


def facts(file: Path) -> dict[str, Any]:
    """Every field of the file's description but long arrays, such as its vocabulary. Raises StartupError."""
    return {key: value for key, value in _read(file, None).items() if not _is_long(value)}


def _is_long(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > FEW


def _read(file: Path, wanted: set[str] | None) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            return _find(opened, wanted)
    except OSError as error:
        raise StartupError(f"cannot read the model {file}: {error.strerror}") from None
    except (struct.error, ValueError, KeyError):
        raise StartupError(f"the model {file} is damaged or cut short; fetch or export it again") from None


def _find(file: BinaryIO, wanted: set[str] | None) -> dict[str, Any]:
    """The wanted fields; None: all."""
    magic, _, _, fields = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF":
        raise ValueError("a GGUF file begins with the letters GGUF")
    found: dict[str, Any] = {}
    for _ in range(min(fields, MOST_ITEMS)):
        key = _string(file)
        (kind,) = struct.unpack("<I", file.read(4))
        value = _value(file, kind)
        if wanted is None or key in wanted:
            found[key] = value
        if wanted is not None and len(found) == len(wanted):
            break
    return found


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _string(file)
    if kind == ARRAY:
        item, length = struct.unpack("<IQ", file.read(12))
        if length > MOST_ITEMS:
            raise ValueError("an array is longer than any model's")
        if item in SCALARS:
            code = f"<{length}{SCALARS[item]}"
            return struct.unpack(code, file.read(struct.calcsize(code)))
        return [_value(file, item) for _ in range(length)]
    code = f"<{SCALARS[kind]}"
    return struct.unpack(code, file.read(struct.calcsize(code)))[0]


def _string(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > MOST_ITEMS * 16:
        raise ValueError("a string is longer than any model's")
    return file.read(length).decode("utf-8", errors="replace")
