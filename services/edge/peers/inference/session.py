"""The Session stream to one inference replica: many generations side by side, each isolated from the others."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from muhgpt.inference.v1 import inference_pb2, inference_pb2_grpc
from servicekit.clock import Clock
from servicekit.observability.logging import get_logger
from servicekit.rpc.client import Peer
from services.edge.peers.inference.generation import Generation
from services.edge.peers.streaming.link import Link, StreamBroken

log = get_logger(__name__)

MESSAGE_BYTES = 1024 * 1024  # commands of one message, well below the stream's limit of 4 MiB

_ids = itertools.count(1)


class InferenceLink:
    """One replica. `large` is its channel with the raised message limit, for the unary Prepare."""

    name = "inference"

    def __init__(
        self,
        peer: Peer,
        large: Peer,
        session_id: bytes,
        clock: Clock,
        edge_name: str,
        opened: Callable[[], None],
        drains: Callable[[], None],
    ) -> None:
        self.peer = peer
        self.large = large
        self.session_id = session_id
        self.models: dict[str, inference_pb2.Model] = {}  # by alias, as last told
        self._known: set[str] = set()  # the models behind the aliases
        self._ready: set[str] = set()  # those of them that are ready
        self._away: set[str] = set()  # models whose engine was found away since then
        self.up = False
        self.draining = False
        self.greeted = asyncio.Event()  # a new session began, or the models changed: they are to be asked
        self.link = Link(self, clock)
        self._clock = clock
        self._edge_name = edge_name
        self._opened = opened
        self._drains = drains
        self._down_since = clock.monotonic()
        self._load = 0
        self.leaving = False  # the replica's address is gone
        self.empty = asyncio.Event()  # nothing runs here
        self.empty.set()
        self._generations: dict[int, Generation] = {}
        self._commands: deque[tuple[Generation, inference_pb2.Command]] = deque()

    @property
    def outstanding(self) -> int:
        """Requests that this replica has to work on: what it reported, or what we know of when that is more."""
        return max(self._load, len(self._generations))

    @property
    def running(self) -> int:
        """Generations of this worker that it carries."""
        return len(self._generations)

    @property
    def usable(self) -> bool:
        """A new generation may be prepared here."""
        return self.up and not self.draining and not self.leaving

    def tell_models(self, models: Iterable[inference_pb2.Model]) -> None:
        """The replica told its models."""
        self.models = {model.alias: model for model in models}
        self._known = {model.model for model in self.models.values()}
        self._ready = {model.model for model in self.models.values() if model.ready}
        self._away.clear()

    def found_away(self, model: str) -> None:
        """The engine of this model could not take a request just now. The replica is asked whether it still cannot."""
        if self.rank(model) == 0:
            self._away.add(model)
            self.greeted.set()

    def rank(self, model: str) -> int:
        """0: the model is ready here; 1: it is known or nothing is; 2: it is not here."""
        if model in self._ready and model not in self._away:
            return 0
        return 1 if model in self._known or not self._known else 2

    def leave(self) -> None:
        """The replica's address is gone: no new generations; `empty` is set when the running ones have ended."""
        self.leaving = True

    def down_for(self) -> float:
        """Seconds since a stream was open; 0 when one is."""
        return 0.0 if self.up else self._clock.monotonic() - self._down_since

    def generation(self, model: str, wake: Callable[[], None]) -> Generation:
        """A new generation under an id of its own."""
        generation = Generation(next(_ids), model, self, wake)
        self._generations[generation.id] = generation
        self.empty.clear()
        return generation

    # What Generation asks of its carrier

    def command(self, generation: Generation, command: inference_pb2.Command) -> None:
        """Queues a command. After a break it is dropped: the generation has been told."""
        if self.up:
            self._commands.append((generation, command))
            self.link.wake()

    def forget(self, generation: Generation) -> None:
        """Later events of it are ignored. A draining replica is left when nothing runs there any more."""
        self._generations.pop(generation.id, None)
        if not self._generations:
            self.empty.set()

    # What Link asks of a side

    def open(self) -> Any:
        """A call to the replica."""
        return inference_pb2_grpc.InferenceStub(self.peer.channel).Session(metadata=self.peer.metadata())

    def hello(self) -> inference_pb2.SessionRequest:
        """Who we are."""
        hello = inference_pb2.SessionHello(session_id=self.session_id, edge_name=self._edge_name)
        return inference_pb2.SessionRequest(hello=hello)

    def welcomed(self, response: inference_pb2.SessionResponse, hello_sent: float) -> None:
        """The replica takes requests from now on."""
        if response.WhichOneof("message") != "welcome":
            raise StreamBroken("inference did not begin with a welcome")
        self._note(response.welcome.load)
        self.up, self.draining = True, False
        self.greeted.set()
        self._opened()
        log.info("inference_session_open", edge=self._edge_name)

    def outgoing(self) -> inference_pb2.SessionRequest | None:
        """The commands that have queued, up to a size."""
        commands: list[inference_pb2.Command] = []
        size = 0
        while self._commands and size < MESSAGE_BYTES:
            generation, command = self._commands.popleft()
            which = command.WhichOneof("command")
            if which == "prepare":
                if generation.left:
                    continue  # given up before it was sent
                generation.prepare_written = True
                size += command.ByteSize()
            elif which == "go":
                if generation.left:
                    continue
                generation.go_written = True
            commands.append(command)
        if commands:
            return inference_pb2.SessionRequest(commands=inference_pb2.Commands(commands=commands))
        if self.draining and not self._generations:
            raise StreamBroken("inference is draining")
        return None

    def incoming(self, response: inference_pb2.SessionResponse) -> None:
        """Hands each event to its generation; one generation's defect concerns no other."""
        kind = response.WhichOneof("message")
        if kind == "events":
            self._accept_all(response.events.events)
            if self.draining:
                self.link.wake()
        elif kind == "load":
            self._note(response.load)
        elif kind == "models_changed":
            self.greeted.set()
        elif kind == "draining":
            log.info("inference_draining", edge=self._edge_name, running=len(self._generations))
            self.draining = True
            self._drains()
            self.link.wake()

    def beat(self) -> None:
        """This stream has no heartbeats; the channel's keepalive finds a dead peer."""

    def broken(self) -> None:
        """Tells every generation; those that had not started may be prepared again elsewhere."""
        if self.up:
            self._down_since = self._clock.monotonic()
        self.up = False
        self._drains()
        self._commands.clear()
        generations, self._generations = list(self._generations.values()), {}
        self.empty.set()
        for generation in generations:
            generation.break_off()

    def _accept_all(self, events: Iterable[inference_pb2.Event]) -> None:
        """All events of a message are taken in before their requests look: each writes to its client once."""
        touched: dict[Generation, None] = {}
        for event in events:
            generation = self._generations.get(event.generation_id)
            if generation is not None:
                touched[generation] = None
                try:
                    generation.accept(event)
                except Exception:
                    log.exception("generation_defect", generation_id=generation.id)
                    self._break_off(generation)
        for generation in touched:
            try:
                if generation.refused_away:
                    self.found_away(generation.model)
                generation.wake()
            except Exception:
                log.exception("generation_defect", generation_id=generation.id)
                self._break_off(generation)

    def _break_off(self, generation: Generation) -> None:
        generation.leave()
        generation.break_off()

    def _note(self, load: inference_pb2.Load) -> None:
        self._load = load.waiting + load.running


def new_session_id() -> bytes:
    """16 random bytes, one for each edge worker."""
    return secrets.token_bytes(16)
