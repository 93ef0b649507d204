"""What operators do with accounts."""

from __future__ import annotations

from common.key_format import RandomBytes
from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from services.auth.domain import limits
from services.auth.domain.account import Account, AccountState, normalise_email
from services.auth.domain.bell import Bell
from services.auth.domain.errors import AccountUnknown, EmailMalformed
from services.auth.domain.page import Cursor, Page
from services.auth.domain.revocation import Confirmations
from services.auth.domain.store import AccountStore

log = get_logger(__name__)


class Accounts:
    """Making, finding, changing, suspending. Raises what each method of auth.proto names."""

    def __init__(
        self, store: AccountStore, changed: Bell, confirmations: Confirmations, clock: Clock, random_bytes: RandomBytes
    ) -> None:
        self._store = store
        self._changed = changed
        self._confirmations = confirmations
        self._clock = clock
        self._random_bytes = random_bytes

    async def create(self, email: str, requests_per_minute: int | None) -> Account:
        """Raises EmailMalformed, LimitOutOfRange, EmailTaken."""
        account = Account(
            account_id=f"acct_{self._random_bytes(12).hex()}",
            email=normalise_email(email),
            state=AccountState.ACTIVE,
            version=1,
            requests_per_minute=limits.check_requests_per_minute(requests_per_minute),
            created_us=self._clock.now_us(),
        )
        await self._store.create(account)
        log.info("account_created", account_id=account.account_id)
        return account

    async def by_id(self, account_id: str) -> Account:
        """Raises AccountUnknown."""
        return await self._store.by_id(account_id)

    async def by_email(self, email: str) -> Account:
        """Compares without regard to case. Raises AccountUnknown, also for what cannot be an email."""
        try:
            normal = normalise_email(email)
        except EmailMalformed as error:
            raise AccountUnknown(f"no account has this email: {error.message}") from None
        return await self._store.by_email(normal)

    async def page(self, page_size: int, page_token: str) -> Page[Account]:
        """Oldest first. Raises LimitOutOfRange, PageTokenMalformed."""
        size = limits.page_size(page_size)
        rows = await self._store.page(Cursor.parse(page_token), size + 1)
        return Page.cut(rows, size, lambda account: Cursor(account.created_us, account.account_id))

    async def count(self) -> int:
        """How many there are."""
        return await self._store.count()

    async def set_limits(self, account_id: str, requests_per_minute: int | None) -> Account:
        """Edges use the new limits from their next request on. Raises LimitOutOfRange, AccountUnknown."""
        limits.check_requests_per_minute(requests_per_minute)
        try:
            account = await self._store.set_limits(account_id, requests_per_minute, self._clock.now_us())
        finally:
            self._changed.ring()  # also after an unknown outcome: the change may have been committed
        log.info("account_limits_set", account_id=account_id, requests_per_minute=requests_per_minute)
        return account

    async def suspend(self, account_id: str) -> tuple[Account, int]:
        """Returns once no edge serves its keys, with how many sessions were waited out. Raises AccountUnknown."""
        account, sequence = await self._set_state(account_id, AccountState.SUSPENDED)
        return account, await self._confirmations.wait(sequence)

    async def resume(self, account_id: str) -> Account:
        """Raises AccountUnknown."""
        account, _ = await self._set_state(account_id, AccountState.ACTIVE)
        return account

    async def _set_state(self, account_id: str, state: AccountState) -> tuple[Account, int]:
        try:
            account, sequence = await self._store.set_state(account_id, state, self._clock.now_us())
        finally:
            self._changed.ring()
        log.info("account_state_set", account_id=account_id, state=state.value, sequence=sequence)
        return account, sequence
