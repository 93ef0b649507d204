"""The digests that auth has just refused, so that one bad key costs auth one question a second and not each request."""

from __future__ import annotations

from collections import OrderedDict

from servicekit.clock import Clock
from servicekit.rpc.status import RpcFailure

LIFETIME = 1.0  # seconds: what was refused may be good by then, if its account was resumed unnoticed
MAX_DIGESTS = 10_000


class RefusedKeys:
    """A short, bounded memory of refusals. Any change of keys empties it, so that a key which works now works now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: OrderedDict[bytes, tuple[float, RpcFailure]] = OrderedDict()
        self.generation = 0  # rises when it is emptied

    def get(self, digest: bytes) -> RpcFailure | None:
        """How auth refused it, not longer ago than LIFETIME."""
        known = self._until.get(digest)
        if known is None:
            return None
        if self._clock.monotonic() < known[0]:
            return known[1]
        del self._until[digest]
        return None

    def put(self, digest: bytes, failure: RpcFailure, asked_in: int) -> None:
        """Remembers a refusal that was asked for in the generation `asked_in`; not one that a change has overtaken."""
        if asked_in != self.generation:
            return
        self._until[digest] = (self._clock.monotonic() + LIFETIME, failure)
        self._until.move_to_end(digest)
        if len(self._until) > MAX_DIGESTS:
            self._until.popitem(last=False)

    def clear(self) -> None:
        """Forgets all."""
        self._until.clear()
        self.generation += 1
