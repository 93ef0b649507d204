"""What a GGUF file says of its tokenizer: the control tokens, which no client's text may bring into a prompt.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from servicekit.errors import StartupError

TOKENS, TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
CONTROL = 3  # llama.cpp's LLAMA_TOKEN_TYPE_CONTROL
STRING, ARRAY = 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
MOST_ITEMS = 10_000_000  # of an array; a damaged length must not take the memory


def control_tokens(file: Path) -> list[str]:
    """The texts of the model's control tokens. Raises StartupError when the file's description cannot be read."""
    try:
        with file.open("rb") as opened:
            found = _find(opened, {TOKENS, TYPES})
    except OSError as error:
        raise StartupError(f"cannot read the model {file}: {error.strerror}") from None
    except (struct.error, ValueError, KeyError):
        raise StartupError(f"the model {file} is damaged or cut short; fetch or export it again") from None
    tokens, types = found.get(TOKENS, []), found.get(TYPES, [])
    return [token for token, kind in zip(tokens, types, strict=False) if kind == CONTROL and token]


def _find(file: BinaryIO, wanted: set[str]) -> dict[str, Any]:
    _, _, _, fields = struct.unpack("<4sIQQ", file.read(24))
    found: dict[str, Any] = {}
    for _ in range(min(fields, MOST_ITEMS)):
        key = _string(file)
        (kind,) = struct.unpack("<I", file.read(4))
        value = _value(file, kind)
        if key in wanted:
            found[key] = value
        if len(found) == len(wanted):
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
