"""The WatchKeys stream: what auth takes back, acknowledged once it is in force here."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from typing import Any, Protocol

from muhgpt.auth.v1 import auth_pb2, auth_pb2_grpc
from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from servicekit.rpc.client import Peer
from services.edge.peers.streaming.lease_heartbeat import Heart
from services.edge.peers.streaming.link import PeerLeaves, StreamBroken
from services.edge.peers.streaming.replicas import Replica, Replicas

log = get_logger(__name__)


class Listener(Protocol):
    """Who puts changes in force. Called before they are acknowledged, so nothing here may wait."""

    def session_began(self, old_lapse: float) -> None:
        """A new session: what was learnt before is to be forgotten, or asked again before old_lapse (monotonic)."""
        ...

    def session_resumed(self) -> None:
        """A new session that is sent every change since the last one in force: what was learnt before stays."""
        ...

    def change(self, change: auth_pb2.KeyChange) -> None:
        """Forget what it names and end the running answers of revoked keys."""
        ...


class KeyWatch:
    """One edge worker's side of WatchKeys. After a break it is a new session, at the next replica."""

    name = "auth"

    def __init__(self, replicas: Replicas[Peer], listener: Listener, clock: Clock, edge_name: str) -> None:
        self._replicas = replicas
        self._at: Replica[Peer] | None = None  # where the stream is, or will be
        self._leaving = False
        self._listener = listener
        self._clock = clock
        self._edge_name = edge_name
        self._heart: Heart | None = None
        self._unacknowledged: int | None = None
        self.wake: Callable[[], None] = lambda: None  # there is something to send
        self.lapses_at = float("-inf")  # monotonic; nothing is trusted from then on
        self.applied = 0  # the last change in force here
        self._mark = ""  # of what this edge has cached
        self._opening = self._session = b""  # session ids: of the last hello, of the last welcome
        # The session that a next one may resume. A session that resumed another is one once a heartbeat of it was
        # answered: one that broke at a change that it was sent again must not break at it for ever.
        self._steady: bytes | None = None
        self._offered: bytes | None = None  # the session that the last hello would resume

    @property
    def up(self) -> bool:
        """A stream is open."""
        return self._heart is not None

    @property
    def address(self) -> str:
        """Of the replica that the stream is open to, or will be; empty before the first was chosen."""
        return self._at.address if self._at else ""

    @property
    def peer(self) -> Peer:
        """Of the replica that the stream is open to, or will be. There must be one."""
        if self._at is None:  # the first: any, so that edges spread
            self._at = random.choice(self._replicas.now)
        return self._at.connection

    @property
    def spare(self) -> Peer:
        """Of the replica whose turn is next; the same one when there is no other."""
        return self._replicas.after(self._at).connection if self._at else self.peer

    def replicas_changed(self) -> None:
        """Leaves a replica that is not there any more, once another one has taken over."""
        if self._at is not None and self._at not in self._replicas.now:
            self._leaving = True
            self.wake()

    def open(self) -> Any:
        """A call to the replica whose turn it is."""
        self._leaving = False
        if self._at is not None and self._at not in self._replicas.now:
            self._at = self._replicas.after(self._at)
        return auth_pb2_grpc.AuthStub(self.peer.channel).WatchKeys(metadata=self.peer.metadata())

    def hello(self) -> auth_pb2.WatchKeysRequest:
        """A fresh session: auth waits for the old one until its time is over. While that lasts, the cache is right up
        to the last change in force, and auth may send those after it instead of having all keys asked for anew."""
        self._offered = self._steady if self._trusted else None
        self._opening = secrets.token_bytes(16)
        hello = auth_pb2.WatchHello(session_id=self._opening, edge_name=self._edge_name)
        if self._offered is not None:
            hello.last_sequence, hello.cache_mark = self.applied, self._mark
            hello.last_session_id = self._offered
        return auth_pb2.WatchKeysRequest(hello=hello)

    def welcomed(self, response: auth_pb2.WatchKeysResponse, hello_sent: float) -> float:
        """Trust begins when the hello was sent."""
        if response.WhichOneof("message") != "welcome":
            raise StreamBroken("auth did not begin with a welcome")
        welcome = response.welcome
        lifetime = welcome.session_ttl.ToMicroseconds() / 1e6
        interval = welcome.heartbeat_interval.ToMicroseconds() / 1e6
        if lifetime <= 0 or interval <= 0:
            raise StreamBroken("auth's welcome has no session_ttl or heartbeat_interval")
        resumed = self._resumes(welcome)
        # Until it hears from a resumed session auth waits for it no longer than for the one before: nor is it trusted
        # for longer, and it speaks up at once.
        began = self.lapses_at - lifetime if resumed else hello_sent
        self._heart = Heart(self._clock, began, lifetime, interval)
        self._unacknowledged = None
        self._session = self._opening
        self._mark = welcome.cache_mark
        if resumed:
            self._heart.ask()
            self._listener.session_resumed()
        else:
            self.applied = welcome.sequence
            self._steady = self._session
            self._listener.session_began(self.lapses_at)
        self.lapses_at = self._heart.lapses_at
        log.info("key_watch_open", edge=self._edge_name, sequence=welcome.sequence, resumed=resumed)
        return interval

    def _resumes(self, welcome: auth_pb2.WatchWelcome) -> bool:
        """Whether the cache may be kept.

        Trust must not have lapsed by now, whatever it was when the hello went out: after that auth may have given the
        old session up, and a revocation that this edge has not seen may have been reported as complete.
        """
        same = bool(welcome.cache_mark) and welcome.cache_mark == self._mark and welcome.sequence == self.applied
        return self._offered is not None and same and self._trusted

    @property
    def _trusted(self) -> bool:
        return self._clock.monotonic() < self.lapses_at

    def incoming(self, response: auth_pb2.WatchKeysResponse) -> None:
        """Puts a change in force, or notes an answered heartbeat."""
        kind = response.WhichOneof("message")
        if kind == "change":
            self._listener.change(response.change)
            self.applied = max(self.applied, response.change.sequence)
            self._unacknowledged = self.applied
            self.wake()
        elif kind == "heartbeat" and self._heart is not None:
            self._heart.answer(response.heartbeat.number)
            self.lapses_at = self._heart.lapses_at
            self._steady = self._session
        elif kind == "draining":
            self._leaving = True
            self._replicas.look()
            self.wake()

    def outgoing(self) -> auth_pb2.WatchKeysRequest | None:
        """An acknowledgement first, since somebody waits for it; then a heartbeat when one is due."""
        if self._unacknowledged is not None:
            sequence, self._unacknowledged = self._unacknowledged, None
            return auth_pb2.WatchKeysRequest(ack=auth_pb2.Ack(sequence=sequence))
        if self._leaving:
            raise PeerLeaves("auth is draining or gone")
        number = self._heart.next() if self._heart else None
        if number is None:
            return None
        return auth_pb2.WatchKeysRequest(heartbeat=auth_pb2.WatchHeartbeat(number=number))

    def beat(self) -> None:
        """Another interval is over."""
        if self._heart is None:
            return
        self._heart.ask()
        if self._heart.silent:
            raise StreamBroken("auth left heartbeats unanswered")

    def broken(self) -> None:
        """The next stream goes to the next replica; trust goes on until it lapses."""
        self._heart = None
        self._leaving = False
        if self._steady != self._session:
            self._steady = None
        self._replicas.look()
        if self._at is not None:
            self._at = self._replicas.after(self._at)
