"""The addresses of one service's replicas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from servicekit.address import Address


@dataclass(frozen=True, slots=True)
class Replicas:
    """At least one address. The seam for following DNS later: what asks for addresses asks here."""

    addresses: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Replicas:
        """Reads "host:port,host:port". Raises StartupError that shows what is no address."""
        return cls(tuple(str(Address.parse(part.strip())) for part in text.split(",")))

    def __len__(self) -> int:
        return len(self.addresses)

    def __iter__(self) -> Iterator[str]:
        return iter(self.addresses)
