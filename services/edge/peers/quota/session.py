"""The Session stream to one quota replica: holds that have something to say, batched by whatever queued."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import grpc

from common.hold_id import new_hold_id
from muhgpt.quota.v1 import quota_pb2, quota_pb2_grpc
from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from servicekit.rpc.client import Peer
from services.edge.peers import metrics
from services.edge.peers.quota.hold import Hold
from services.edge.peers.streaming.lease_heartbeat import Heart
from services.edge.peers.streaming.link import Link, StreamBroken
from services.edge.peers.streaming.replicas import Replica, Replicas
from services.edge.peers.timings import DEFAULT_TIMINGS, Timings

log = get_logger(__name__)

BATCH = 1024  # operations a message; about 100 KiB
RETRY_PAUSE = 0.05  # seconds before an operation is repeated that quota could not decide
HOME_AGAIN = "home can be reached again"
FEATURES = ("losses_too_high",)  # what this edge understands beyond the first version (quota.proto)


class QuotaLink:
    """One session of this edge worker, at home with one replica.

    When its stream breaks it moves on to the next replica, holds and all, and returns when home can be reached again.
    When home is gone for good it takes no new holds, and is to be closed once those that it has are finished.
    """

    name = "quota"

    def __init__(
        self,
        replicas: Replicas[Peer],
        home: Replica[Peer],
        clock: Clock,
        edge_name: str,
        timings: Timings = DEFAULT_TIMINGS,
    ) -> None:
        self._timings = timings
        self.home = home
        self.at = home  # where the stream is, or will be
        self._replicas = replicas
        self._moving = ""  # why the stream is to be left
        self._clock = clock
        self._hello = quota_pb2.SessionHello(session_id=secrets.token_bytes(16), edge_name=edge_name, features=FEATURES)
        self._holds: dict[bytes, Hold] = {}
        self._dirty: dict[Hold, None] = {}  # in the order of their first unsent operation
        self._heart: Heart | None = None
        self._margin = 0.0
        self._down_since = clock.monotonic()
        self._looked = clock.monotonic()
        self._lapsed = True
        self._welcomed_at = 0.0
        self.lapses_at = float("-inf")  # monotonic: from then on nothing may be delivered
        self.window_tokens = 64
        self.features: frozenset[str] = frozenset()  # of the replica where the stream is
        self.opened = asyncio.Event()
        self.link = Link(self, clock)

    @property
    def up(self) -> bool:
        """A stream is open."""
        return self._heart is not None

    @property
    def unfinished(self) -> int:
        """Holds whose end quota has not acknowledged."""
        return len(self._holds)

    def down_for(self) -> float:
        """Seconds since a stream was open; 0 when one is."""
        return 0.0 if self.up else self._clock.monotonic() - self._down_since

    def hold(self, wake: Callable[[], None]) -> Hold:
        """A new hold under a fresh id."""
        hold = Hold(new_hold_id(self._clock.now_us()), self._touch, wake)
        self._holds[hold.id] = hold
        metrics.HOLDS_OPEN.inc()
        return hold

    def check_lease(self) -> None:
        """Loses all holds when the lease lapses, once; called often."""
        if self._clock.monotonic() < self.lapses_at:
            self._lapsed = False
            return
        if self._lapsed:
            return
        self._lapsed = True
        live = [hold for hold in self._holds.values() if hold.active]
        log.error("quota_lease_lapsed", holds=len(live))
        for hold in live:
            hold.lose()

    def replicas_changed(self) -> None:
        """Leaves a replica that is not there any more."""
        if self.at not in self._replicas.now:
            self._move("quota's replica is gone")

    def return_home(self) -> None:
        """Goes back to the replica of its accounts, if it is away and home answers; called often."""
        if self.at is self.home or not self.up or self.home not in self._replicas.now:
            return
        if self._clock.monotonic() - self._welcomed_at < self._timings.return_after:
            return
        state = self.home.connection.channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            self._move(HOME_AGAIN)

    # What Link asks of a side

    @property
    def peer(self) -> Peer:
        """Of the replica that the stream is open to, or will be."""
        return self.at.connection

    def open(self) -> Any:
        """A call to the replica whose turn it is."""
        self._moving = ""
        if self.at not in self._replicas.now:
            self.at = self._replicas.after(self.at)
        peer = self.at.connection
        return quota_pb2_grpc.QuotaStub(peer.channel).Session(metadata=peer.metadata())

    def hello(self) -> quota_pb2.SessionRequest:
        """The same session as before the break: its holds live on."""
        return quota_pb2.SessionRequest(hello=self._hello)

    def welcomed(self, response: quota_pb2.SessionResponse, hello_sent: float) -> float:
        """Asks again whatever the last stream did not answer."""
        if response.WhichOneof("message") != "welcome":
            raise StreamBroken("quota did not begin with a welcome")
        welcome = response.welcome
        lease = welcome.lease.ToMicroseconds() / 1e6
        interval = welcome.heartbeat_interval.ToMicroseconds() / 1e6
        if lease <= 0 or interval <= 0 or welcome.window_tokens < 1:
            raise StreamBroken("quota's welcome lacks lease, heartbeat_interval or window_tokens")
        self.window_tokens = welcome.window_tokens
        self.features = frozenset(welcome.features)
        self._margin = min(1.0, lease / 10)
        self._heart = Heart(self._clock, hello_sent, lease - self._margin, interval)
        self.lapses_at = self._heart.lapses_at
        for hold in self._holds.values():
            hold.forget_sent()
            if hold.unanswered:
                self._dirty[hold] = None
        self.opened.set()
        self._welcomed_at = self._clock.monotonic()
        log.info("quota_session_open", replayed=len(self._dirty))
        return interval

    def outgoing(self) -> quota_pb2.SessionRequest | None:
        """A heartbeat when one is due, else the operations that have queued. Raises StreamBroken when it moves."""
        if self._moving:
            raise StreamBroken(self._moving)
        number = self._heart.next() if self._heart else None
        if number is not None:
            return quota_pb2.SessionRequest(heartbeat=quota_pb2.SessionHeartbeat(number=number))
        operations: list[quota_pb2.Operation] = []
        now = self._clock.monotonic()
        while self._dirty and len(operations) < BATCH:
            hold = next(iter(self._dirty))
            del self._dirty[hold]
            operations += hold.take(now, self.features)
            self._tidy(hold)
        if not operations:
            return None
        return quota_pb2.SessionRequest(operations=quota_pb2.Operations(operations=operations))

    def incoming(self, response: quota_pb2.SessionResponse) -> None:
        """Hands each outcome to its hold; one hold's defect is nobody else's."""
        kind = response.WhichOneof("message")
        if kind == "outcomes":
            for outcome in response.outcomes.outcomes:
                self._accept(outcome)
        elif kind == "heartbeat" and self._heart is not None:
            self._heart.answer(response.heartbeat.number)
            self.lapses_at = self._heart.lapses_at
        elif kind == "draining":
            self._replicas.look()
            raise StreamBroken("quota is draining")

    def beat(self) -> None:
        """Another interval is over; operations that stayed unanswered too long are sent again."""
        if self._heart is None:
            return
        self._heart.ask()
        if self._heart.silent:
            raise StreamBroken("quota left heartbeats unanswered")
        now = self._clock.monotonic()
        if now - self._looked >= self._timings.overdue_after:
            self._looked = now
            self._repeat_overdue()

    def broken(self) -> None:
        """The next stream goes to the next replica and repeats what is unanswered."""
        if self._heart is not None:
            self._down_since = self._clock.monotonic()
        self._heart = None
        returning = self._moving == HOME_AGAIN
        self._moving = ""
        self.at = self.home if returning else self._replicas.after(self.at)
        self._replicas.look()

    # Inside

    def _move(self, why: str) -> None:
        self._moving = why
        self.link.wake()

    def _touch(self, hold: Hold) -> None:
        if hold.ended:
            self._tidy(hold)
        else:
            self._dirty[hold] = None
            self.link.wake()

    def _accept(self, outcome: quota_pb2.Outcome) -> None:
        hold = self._holds.get(outcome.hold_id)
        if hold is None:
            return
        try:
            if hold.accept(outcome):
                asyncio.get_running_loop().call_later(RETRY_PAUSE, self._touch, hold)
        except Exception:
            log.exception("outcome_defect", hold_id=hold.id.hex())
        self._tidy(hold)

    def _tidy(self, hold: Hold) -> None:
        if hold.ended and self._holds.pop(hold.id, None) is not None:
            self._dirty.pop(hold, None)
            metrics.HOLDS_OPEN.dec()

    def _repeat_overdue(self) -> None:
        """Repeats the ends that quota owes an answer since the last look: an answer may be lost, a charge must not."""
        for hold in self._holds.values():
            if hold.overdue():
                self._dirty[hold] = None
