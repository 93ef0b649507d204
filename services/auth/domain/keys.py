"""What operators do with keys, and the one question that edges ask."""

from __future__ import annotations

from common.key_format import RandomBytes
from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from services.auth.domain import key, limits
from services.auth.domain.bell import Bell
from services.auth.domain.errors import DigestMalformed, KeyUnknown
from services.auth.domain.key import Key, KeyTerms, NewKey
from services.auth.domain.page import Cursor, Page
from services.auth.domain.principal import Authentication, Defaults, admit
from services.auth.domain.revocation import Confirmations
from services.auth.domain.store import KeyStore

log = get_logger(__name__)
DIGEST_BYTES = 32


class Keys:
    """Making, listing, revoking, authenticating. Raises what each method of auth.proto names."""

    def __init__(
        self,
        store: KeyStore,
        changed: Bell,
        confirmations: Confirmations,
        defaults: Defaults,
        clock: Clock,
        random_bytes: RandomBytes,
    ) -> None:
        self._store = store
        self._changed = changed
        self._confirmations = confirmations
        self._defaults = defaults
        self._clock = clock
        self._random_bytes = random_bytes

    async def authenticate(self, digest: bytes) -> Authentication:
        """Raises DigestMalformed, KeyUnknown, KeyRevoked, KeyExpired, AccountSuspended."""
        if len(digest) != DIGEST_BYTES:
            raise DigestMalformed(f"key_digest must be the {DIGEST_BYTES} bytes of a SHA-256, not {len(digest)}")
        found = await self._store.find(digest)
        if found is None:
            raise KeyUnknown("no such key; check it for missing characters, or make a new one")
        principal = admit(found.key, found.account, self._defaults, self._clock.now_us())
        return Authentication(principal, found.sequence)

    async def create(self, account_id: str, terms: KeyTerms) -> NewKey:
        """Raises LimitOutOfRange, ExpiryInPast, NameTooLong, TextMalformed, AccountUnknown, TooManyKeys."""
        now_us = self._clock.now_us()
        terms.check(now_us)
        new = key.mint(account_id, terms, random_bytes=self._random_bytes, now_us=now_us)
        await self._store.create(new, key.MAX_ACTIVE_KEYS)
        log.info("key_created", account_id=account_id, key_id=new.key.key_id)
        return new

    async def page(self, account_id: str, page_size: int, page_token: str) -> Page[Key]:
        """Newest first; of all accounts when account_id is empty.

        Raises LimitOutOfRange, PageTokenMalformed, AccountUnknown.
        """
        size = limits.page_size(page_size)
        rows = await self._store.page(account_id, Cursor.parse(page_token), size + 1)
        return Page.cut(rows, size, lambda row: Cursor(row.created_us, row.key_id))

    async def revoke(self, key_id: str) -> tuple[Key, int]:
        """Returns once no edge serves the key, with how many sessions were waited out. Raises KeyNotFound."""
        try:
            revoked, sequence = await self._store.revoke(key_id, self._clock.now_us())
        finally:
            self._changed.ring()  # also after an unknown outcome: the change may have been committed
        log.info("key_revoked", account_id=revoked.account_id, key_id=key_id, sequence=sequence)
        return revoked, await self._confirmations.wait(sequence)
