"""Strings that must not come out anywhere (G11), and the search for them.

A canary is a mark, random for each run, and a code of its own, three times over; so half of one is found as well, and
told by its name. Secrets that somebody else has made (keys, tokens) are found by their pieces.
"""

from __future__ import annotations

import base64
import re
import secrets
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LETTERS = string.ascii_lowercase + string.digits
PIECE = 8  # characters of a secret that are found
CUT = "a canary that was cut"
AROUND = 60  # bytes of what stands around a find, for the message


@dataclass(frozen=True)
class Output:
    """Something that the platform has put out: its name for messages, and all of it."""

    name: str
    content: bytes


@dataclass(frozen=True)
class Leak:
    """A canary where none may be."""

    what: str
    output: str
    around: str

    def __str__(self) -> str:
        return f"{self.what} in {self.output}: …{self.around}…"


class Canaries:
    """Makes canaries and finds them again."""

    def __init__(self) -> None:
        self._mark = secrets.choice(string.ascii_lowercase) + _letters(6)
        self._names: dict[str, str] = {}  # by code
        self._secrets: dict[bytes, str] = {}  # by piece

    def word(self, name: str) -> str:
        """A new one of 33 letters and digits."""
        code = _letters(4)
        while code in self._names:
            code = _letters(4)
        self._names[code] = name
        return (self._mark + code) * 3

    def secret(self, name: str, value: str, *, shown: tuple[int, int] = (0, 0)) -> str:
        """Remembers a secret that was made elsewhere; returns it. `shown`: how much of its ends anybody may see."""
        data = value[shown[0] : len(value) - shown[1]].encode()
        assert len(data) >= 2 * PIECE, "too short to be told from chance"
        for start in range(0, len(data) - PIECE + 1, PIECE):
            self._secrets[data[start : start + PIECE]] = name
        return value

    def leaks(self, output: Output) -> Iterator[Leak]:
        """What is in an output: plain, in any case, in base64 or as hexadecimal digits."""
        for what, start in sorted(self._finds(output.content)):
            around = output.content[max(0, start - AROUND) : start + AROUND]
            yield Leak(what, output.name, around.decode(errors="backslashreplace"))

    def leaks_in(self, outputs: Iterable[Output]) -> list[Leak]:
        """What is in several."""
        return [leak for output in outputs for leak in self.leaks(output)]

    def _finds(self, content: bytes) -> set[tuple[str, int]]:
        first: dict[str, int] = {}
        mark = self._mark.encode()
        codes: dict[str, int] = {}
        for match in re.finditer(re.escape(mark) + b"([a-z0-9]{0,4})", content, re.IGNORECASE):
            codes.setdefault(match[1].decode().lower(), match.start())
        for code, start in codes.items():
            if code in self._names:
                first.setdefault(self._names[code], start)
            elif not any(whole.startswith(code) for whole in codes if whole in self._names):
                first.setdefault(CUT, start)
        for form, encoded in (*_in_base64(mark), ("hexadecimal", mark.hex().encode())):
            if (start := content.find(encoded)) >= 0:
                first.setdefault(f"a canary in {form}", start)
        for piece, name in self._secrets.items():
            if (start := content.find(piece)) >= 0:
                first.setdefault(name, start)
        return set(first.items())


def _letters(count: int) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(count))


def _in_base64(word: bytes) -> Iterator[tuple[str, bytes]]:
    """What is certain of a word's base64 wherever it begins; its ends mix with its neighbours."""
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + word)
        yield "base64", encoded[-(-before * 8 // 6) : (before + len(word)) * 8 // 6]
