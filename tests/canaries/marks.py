"""Strings that must come out nowhere, and the search for them in all that a platform says."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass
class Marks:
    """What was planted, and where each is."""

    planted: dict[str, str] = field(default_factory=dict)

    def plant(self, where: str) -> str:
        """A new string that nobody else says."""
        return self.add(where, f"canary{secrets.token_hex(8)}")

    def add(self, where: str, secret: str) -> str:
        """A secret that came from elsewhere."""
        self.planted[secret] = where
        return secret

    def found(self, said: Mapping[str, bytes], but: Iterable[str] = ()) -> list[str]:
        """Where a planted string is in what was said, as it is or in base64: "planted where, found where"."""
        found = []
        for secret, where in self.planted.items():
            if where in but:
                continue
            forms = (secret.encode(), *_in_base64(secret.encode()))
            found += [f"{where} in {place}" for place, text in said.items() if any(form in text for form in forms)]
        return found


def _in_base64(secret: bytes) -> list[bytes]:
    """The part of it that base64 writes alike whatever stands around it, at each of the three alignments."""
    forms = []
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + secret + b"\0" * 3)
        start, end = -(-shift * 8 // 6), (shift + len(secret)) * 8 // 6
        forms.append(whole[start:end])
    return forms
