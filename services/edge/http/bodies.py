"""The bytes of request bodies that one process holds, and who holds them."""

from __future__ import annotations

from collections.abc import Callable

from servicekit.clock import Clock
from services.edge.http.errors import ApiError
from services.edge.http.limited import BODIES, BODIES_OF_ACCOUNT

MIB = 1024 * 1024


class HeldBody:
    """One request's body, from its first byte until the request was handed to inference or refused."""

    __slots__ = ("_bodies", "account_id", "cut", "heard", "size")

    def __init__(self, bodies: Bodies, account_id: str) -> None:
        self._bodies = bodies
        self.account_id = account_id
        self.size = 0  # bytes
        self.heard = 0.0  # monotonic seconds: when the last piece came
        # Set while the body is still arriving: ends the upload. A body that is complete is never taken back.
        self.cut: Callable[[ApiError], None] | None = None

    def grow(self, count: int) -> None:
        """Counts bytes that came. Raises ApiError 429 or 503 when they may not be kept; the body is released then."""
        self._bodies.grow(self, count)

    def release(self) -> None:
        """The bytes are held no more; safe to call again."""
        self._bodies.release(self)

    def __enter__(self) -> HeldBody:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Bodies:
    """Bounds what is held for each account and in all. Sizes in bytes.

    When the process is full, room is made at the cost of the account that holds most: its upload that has been silent
    for longest is ended, so that stalled uploads of one client do not keep others out.
    """

    def __init__(self, clock: Clock, per_process: int = 256 * MIB, per_account: int = 64 * MIB) -> None:
        self._clock = clock
        self._per_process = per_process
        self._per_account = per_account
        self._total = 0
        self._held: dict[str, dict[HeldBody, None]] = {}
        self._sizes: dict[str, int] = {}

    @property
    def total(self) -> int:
        """Bytes held now."""
        return self._total

    def open(self, account_id: str) -> HeldBody:
        """A body of this account of which nothing has come yet."""
        return HeldBody(self, account_id)

    def grow(self, body: HeldBody, count: int) -> None:
        """See HeldBody.grow."""
        account_id = body.account_id
        if self._sizes.get(account_id, 0) + count > self._per_account:
            BODIES_OF_ACCOUNT.inc()
            self.release(body)
            raise ApiError.too_many_uploads()
        if self._total + count > self._per_process and not self._make_room(body, count):
            BODIES.inc()
            self.release(body)
            raise ApiError.no_room()
        body.size += count
        body.heard = self._clock.monotonic()
        self._total += count
        self._sizes[account_id] = self._sizes.get(account_id, 0) + count
        self._held.setdefault(account_id, {})[body] = None

    def release(self, body: HeldBody) -> None:
        """See HeldBody.release."""
        if not body.size:
            return
        account_id, size = body.account_id, body.size
        body.size = 0
        self._total -= size
        self._sizes[account_id] -= size
        del self._held[account_id][body]
        if not self._held[account_id]:
            del self._held[account_id], self._sizes[account_id]

    def _make_room(self, asker: HeldBody, count: int) -> bool:
        """Ends uploads until count bytes fit. False: only the asker's own account could give way."""
        while self._total + count > self._per_process:
            victim = self._largest_waster(asker)
            if victim is None:
                return False
            BODIES.inc()
            self.release(victim)
            if victim.cut is not None:
                victim.cut(ApiError.no_room())
        return True

    def _largest_waster(self, asker: HeldBody) -> HeldBody | None:
        """The longest silent upload of the account that holds most; None when that account is the asker's."""
        for account_id in sorted(self._sizes, key=lambda name: -self._sizes[name]):
            if account_id == asker.account_id:
                return None
            uploads = [body for body in self._held[account_id] if body.cut is not None]
            if uploads:
                return min(uploads, key=lambda body: body.heard)
        return None
