"""Where the list finds what it must not or cannot hold itself: keys, and tokenizers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from common.model_list.document import Place


@dataclass(frozen=True)
class Secret:
    """Where an upstream's key is: a variable of the environment or a file. The list never holds the key itself."""

    variable: str = ""
    file: Path | None = None
    place: Place = field(default=Place(""), compare=False)

    def read(self, environment: Mapping[str, str]) -> str:
        """The key. Raises StartupError that names the line of the list and what is missing; never the key."""
        if self.file is None:
            key = environment.get(self.variable, "").strip()
            if not key:
                # Some providers' keys look like a variable's name; a key that was written here must not reach the log.
                name = f"variable {self.variable}" if self.variable.isupper() else "variable that it names"
                raise self.place.error(f"the environment {name} is not set; set it to the key")
        else:
            try:
                key = self.file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                problem = getattr(error, "strerror", None) or "it is not text"
                raise self.place.error(f"cannot read the key's file: {problem}") from None
            if not key:
                raise self.place.error("the key's file is empty; write the key into it")
        if not (key.isascii() and key.isprintable()):
            raise self.place.error("the key holds characters that no HTTP header can carry")
        return key


@dataclass(frozen=True)
class Tokenizer:
    """What counts an upstream's tokens: one of TOKENIZERS (upstream.py), or a tokenizer.json with its template."""

    name: str = ""
    file: Path | None = None
    place: Place = field(default=Place(""), compare=False)
