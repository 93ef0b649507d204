"""Pages of a list that is ordered by creation: where one ended is where the next begins, whatever happens between."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.auth.domain.errors import PageTokenMalformed

Item = TypeVar("Item")
_TOKEN = re.compile(r"(\d{1,18}):([\w-]{1,64})", re.ASCII)


@dataclass(frozen=True)
class Cursor:
    """The last row of a page: when it was made (microseconds since the epoch) and, for equal times, its id."""

    created_us: int
    row_id: str

    def token(self) -> str:
        """The opaque text that clients send back."""
        return base64.urlsafe_b64encode(f"{self.created_us}:{self.row_id}".encode()).decode().rstrip("=")

    @classmethod
    def parse(cls, token: str) -> Cursor | None:
        """Reads a token; empty is the start. Raises PageTokenMalformed."""
        if not token:
            return None
        try:
            text = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode("ascii")
        except (binascii.Error, ValueError):
            text = ""
        match = _TOKEN.fullmatch(text)
        if match is None:
            raise PageTokenMalformed("page_token is not one that an answer gave; leave it empty to start again")
        return cls(int(match[1]), match[2])


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some rows and where to go on; `next` is None on the last page."""

    items: Sequence[Item]
    next: Cursor | None

    @property
    def next_token(self) -> str:
        """Where to go on, as clients see it; empty on the last page."""
        return self.next.token() if self.next else ""

    @classmethod
    def cut(cls, rows: Sequence[Item], size: int, cursor: Callable[[Item], Cursor]) -> Page[Item]:
        """Makes a page of at most `size` from rows that were read one beyond it."""
        items = rows[:size]
        return cls(items, cursor(items[-1]) if len(rows) > size else None)
