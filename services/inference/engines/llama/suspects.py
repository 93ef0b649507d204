"""Requests that a worker died under before they gave anything: the second time they are refused."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field, replace

from servicekit.clock import Clock
from services.inference.domain.chat import ChatRequest
from services.inference.domain.errors import InvalidRequest

MAX_SUSPECTS = 1024  # remembered, the latest
MAX_DEATHS = 2
SUSPICION_LIFE = 3600.0  # seconds


@dataclass
class _Suspect:
    since: float
    deaths: set[str] = field(default_factory=set)  # workers, by address: one death counts once for each request


class Suspects:
    """Remembers requests by a digest, whoever sends them. What works once is no suspect any more."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[bytes, _Suspect] = OrderedDict()  # oldest first

    def check(self, request: ChatRequest) -> bool:
        """Whether a worker died under it before, so that it is to be prepared alone. Raises InvalidRequest."""
        if not self._known:  # always, but after a death: nothing needs to be hashed
            return False
        self._forget_old()
        known = self._known.get(_digest(request))
        if known is not None and len(known.deaths) >= MAX_DEATHS:
            raise _refusal()
        return known is not None

    def died(self, request: ChatRequest, worker: str) -> None:
        """The worker died under it. Raises InvalidRequest when that was not the first one."""
        digest = _digest(request)
        suspect = self._known.setdefault(digest, _Suspect(self._clock.monotonic()))
        suspect.deaths.add(worker)
        if len(self._known) > MAX_SUSPECTS:
            self._known.popitem(last=False)
        if len(suspect.deaths) >= MAX_DEATHS:
            raise _refusal()

    def works(self, request: ChatRequest) -> None:
        """It was prepared, or has given output."""
        if self._known:
            self._known.pop(_digest(request), None)

    def _forget_old(self) -> None:
        old = self._clock.monotonic() - SUSPICION_LIFE
        while self._known and next(iter(self._known.values())).since < old:
            self._known.popitem(last=False)


def _refusal() -> InvalidRequest:
    return InvalidRequest("the engine stopped working on this request twice; change it")


def _digest(request: ChatRequest) -> bytes:
    text = repr(replace(request, account=""))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
