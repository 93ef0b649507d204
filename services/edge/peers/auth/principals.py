"""The principals that this edge worker remembers, by key digest."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from muhgpt.auth.v1 import auth_pb2


@dataclass(frozen=True, slots=True)
class Principal:
    """auth.proto's Principal in plain fields, read once a cache miss instead of at every request."""

    account_id: str
    key_id: str
    account_version: int
    key_version: int
    requests_per_minute: int
    max_open_streams: int
    monthly_credit_limit: int | None
    allowed_models: frozenset[str]  # empty: all
    expires_at_us: int | None  # microseconds since the epoch, UTC
    key_requests_per_minute: int | None

    @classmethod
    def from_proto(cls, message: auth_pb2.Principal) -> Principal:
        """Plain fields of the message."""
        return cls(
            account_id=message.account_id,
            key_id=message.key_id,
            account_version=message.account_version,
            key_version=message.key_version,
            requests_per_minute=message.requests_per_minute,
            max_open_streams=message.max_open_streams,
            monthly_credit_limit=message.monthly_credit_limit if message.HasField("monthly_credit_limit") else None,
            allowed_models=frozenset(message.allowed_models),
            expires_at_us=message.expires_at.ToMicroseconds() if message.HasField("expires_at") else None,
            key_requests_per_minute=(
                message.key_requests_per_minute if message.HasField("key_requests_per_minute") else None
            ),
        )


class PrincipalCache:
    """A bounded LRU."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._by_digest: OrderedDict[bytes, Principal] = OrderedDict()
        self._digests: dict[str, set[bytes]] = {}  # by account, so that a change costs what the account has keys

    def __len__(self) -> int:
        return len(self._by_digest)

    def get(self, digest: bytes) -> Principal | None:
        """The principal, now the most recently used."""
        principal = self._by_digest.get(digest)
        if principal is not None:
            self._by_digest.move_to_end(digest)
        return principal

    def put(self, digest: bytes, principal: Principal) -> None:
        """Remembers; the least recently used makes room."""
        self._drop(digest)
        self._by_digest[digest] = principal
        self._digests.setdefault(principal.account_id, set()).add(digest)
        if len(self._by_digest) > self._size:
            self._drop(next(iter(self._by_digest)))

    def forget(self, *, account_id: str, key_id: str = "") -> None:
        """Drops one key, or with an empty key_id all keys of the account."""
        for digest in list(self._digests.get(account_id, ())):
            if not key_id or self._by_digest[digest].key_id == key_id:
                self._drop(digest)

    def clear(self) -> None:
        """Drops all."""
        self._by_digest.clear()
        self._digests.clear()

    def _drop(self, digest: bytes) -> None:
        principal = self._by_digest.pop(digest, None)
        if principal is None:
            return
        digests = self._digests[principal.account_id]
        digests.discard(digest)
        if not digests:
            del self._digests[principal.account_id]
