"""Auth as the edge meets it, with the test in its place: who has which key, what is taken back, what stays silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from common import key_format
from muhgpt.auth.v1 import auth_pb2, auth_pb2_grpc
from servicekit.errors import DatabaseUnavailable, DomainError, Kind


class KeyUnknown(DomainError):
    kind = Kind.UNAUTHENTICATED
    reason = "KEY_UNKNOWN"


class ScriptedAuth(auth_pb2_grpc.AuthServicer):
    """Speaks auth.proto. `session_ttl` and `heartbeat_interval` in seconds."""

    def __init__(self, session_ttl: float = 5.0, heartbeat_interval: float = 0.02) -> None:
        self.session_ttl = session_ttl
        self.heartbeat_interval = heartbeat_interval
        self.sequence = 0
        self.authenticated = 0
        self.most_at_once = self._at_once = 0  # calls of Authenticate
        self.sessions = 0
        self.goodbyes = 0
        self.heartbeats = 0
        self.answer_heartbeats = True
        self.database_down = False
        self.as_of: list[int] = []  # answers that pretend to be this old, first come first
        self.gate = asyncio.Event()  # Authenticate waits for it
        self.gate.set()
        self.cache_mark = ""  # set: an auth that lets sessions be resumed
        self.welcome_gate = asyncio.Event()  # WatchKeys waits for it before its welcome
        self.welcome_gate.set()
        self.hellos: list[auth_pb2.WatchHello] = []
        self._principals: dict[bytes, auth_pb2.Principal] = {}
        self._streams: dict[bytes, asyncio.Queue[auth_pb2.WatchKeysResponse | None]] = {}
        self.acknowledged = 0
        self._acknowledgement = asyncio.Event()

    def add_key(self, account_id: str = "acct_a", key_id: str = "key_a", **terms: Any) -> str:
        """Makes a key and returns it."""
        key = key_format.mint(_counter(len(self._principals) + 1))
        fields = {"requests_per_minute": 60, "max_open_streams": 100, "account_version": 1, "key_version": 1, **terms}
        principal = auth_pb2.Principal(account_id=account_id, key_id=key_id, **fields)
        self._principals[key_format.digest(key)] = principal
        return key

    def drop_key(self, key: str) -> None:
        """The key works no more; nobody is told."""
        del self._principals[key_format.digest(key)]

    def restore_key(self, key: str, principal: auth_pb2.Principal) -> None:
        """The key works again; nobody is told."""
        self._principals[key_format.digest(key)] = principal

    def principal(self, key: str) -> auth_pb2.Principal:
        """What auth says of a key; tests may change it."""
        return self._principals[key_format.digest(key)]

    async def tell(self, kind: Any, account_id: str = "acct_a", key_id: str = "") -> None:
        """Sends a change to every session and waits until all have acknowledged it."""
        self.sequence += 1
        change = auth_pb2.KeyChange(sequence=self.sequence, kind=kind, account_id=account_id, key_id=key_id)
        for queue in self._streams.values():
            queue.put_nowait(auth_pb2.WatchKeysResponse(change=change))
        async with asyncio.timeout(5):
            while self.acknowledged < self.sequence:
                self._acknowledgement.clear()
                await self._acknowledgement.wait()

    async def Authenticate(self, request: auth_pb2.AuthenticateRequest, context: Any) -> auth_pb2.AuthenticateResponse:
        self.authenticated += 1
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        await self.gate.wait()
        self._at_once -= 1
        if self.database_down:
            raise DatabaseUnavailable("the database does not answer")
        principal = self._principals.get(request.key_digest)
        if principal is None:
            raise KeyUnknown("no such key")
        as_of = self.as_of.pop(0) if self.as_of else self.sequence
        return auth_pb2.AuthenticateResponse(principal=principal, as_of_sequence=as_of)

    async def WatchKeys(
        self, requests: AsyncIterator[auth_pb2.WatchKeysRequest], context: Any
    ) -> AsyncIterator[auth_pb2.WatchKeysResponse]:
        hello = (await anext(requests)).hello
        queue: asyncio.Queue[auth_pb2.WatchKeysResponse | None] = asyncio.Queue()
        self._streams[hello.session_id] = queue
        self.sessions += 1
        self.hellos.append(hello)
        reader = asyncio.create_task(self._read(requests, queue))
        resumed = bool(self.cache_mark) and hello.HasField("last_sequence") and hello.cache_mark == self.cache_mark
        sequence = hello.last_sequence if resumed else self.sequence
        welcome = auth_pb2.WatchWelcome(sequence=sequence, cache_mark=self.cache_mark)
        welcome.session_ttl.FromMicroseconds(int(self.session_ttl * 1e6))
        welcome.heartbeat_interval.FromMicroseconds(int(self.heartbeat_interval * 1e6))
        try:
            await self.welcome_gate.wait()
            yield auth_pb2.WatchKeysResponse(welcome=welcome)
            while (response := await queue.get()) is not None:
                yield response
        finally:
            reader.cancel()
            del self._streams[hello.session_id]

    async def _read(
        self,
        requests: AsyncIterator[auth_pb2.WatchKeysRequest],
        queue: asyncio.Queue[auth_pb2.WatchKeysResponse | None],
    ) -> None:
        async for request in requests:
            kind = request.WhichOneof("message")
            self.heartbeats += kind == "heartbeat"
            if kind == "heartbeat" and self.answer_heartbeats:
                queue.put_nowait(auth_pb2.WatchKeysResponse(heartbeat=request.heartbeat))
            elif kind == "ack":
                self.acknowledged = max(self.acknowledged, request.ack.sequence)
                self._acknowledgement.set()
        self.goodbyes += 1
        queue.put_nowait(None)


def _counter(start: int) -> Any:
    """Predictable bytes, different for every key."""
    return lambda count: bytes((start * 37 + index) % 248 for index in range(count))
