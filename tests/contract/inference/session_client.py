"""One edge's side of a Session stream, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc

from muhgpt.inference.v1 import inference_pb2 as pb
from muhgpt.inference.v1 import inference_pb2_grpc
from servicekit.rpc.client import Peer, connect

PATIENCE = 20.0  # seconds


def chat(*texts: str, model: str = "muh-chat", **sampling: Any) -> pb.ChatRequest:
    """A request of user messages."""
    messages = [
        pb.Message(role=pb.Message.ROLE_USER, content=[pb.ContentPart(text=text)]) for text in texts or ("Hello!",)
    ]
    return pb.ChatRequest(model=model, messages=messages, sampling=pb.Sampling(**sampling))


class SessionClient:
    """Opens a stream, sends commands, sorts events by generation."""

    def __init__(self, peer: Peer, session_id: bytes = b"s" * 16) -> None:
        self.peer = peer
        self.stub = inference_pb2_grpc.InferenceStub(peer.channel)
        self.call = self.stub.Session(metadata=peer.metadata())
        self.session_id = session_id
        self.draining = asyncio.Event()
        self.models_changed = asyncio.Event()
        self.loads: list[pb.Load] = []
        self.messages = 0
        self._numbers = itertools.count(1)
        self._events: dict[int, asyncio.Queue[pb.Event]] = {}
        self._writing = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None

    async def hello(self) -> pb.SessionWelcome:
        await self.call.write(pb.SessionRequest(hello=pb.SessionHello(session_id=self.session_id, edge_name="test")))
        welcome = await asyncio.wait_for(self.call.read(), PATIENCE)
        self._reader = asyncio.create_task(self._read())
        return welcome.welcome

    async def _read(self) -> None:
        while (response := await self.call.read()) is not grpc.aio.EOF:
            self.messages += 1
            if response.WhichOneof("message") == "draining":
                self.draining.set()
            elif response.WhichOneof("message") == "models_changed":
                self.models_changed.set()
            elif response.WhichOneof("message") == "load":
                self.loads.append(response.load)
            for event in response.events.events:
                self._events.setdefault(event.generation_id, asyncio.Queue()).put_nowait(event)

    async def send(self, generation_id: int, **command: Any) -> None:
        command_ = pb.Command(generation_id=generation_id, **command)
        async with self._writing:  # grpc allows one write at a time
            await self.call.write(pb.SessionRequest(commands=pb.Commands(commands=[command_])))

    async def prepare(self, request: pb.ChatRequest | None = None, **fields: Any) -> int:
        number = next(self._numbers)
        fields.setdefault("account_id", "acct-1")
        await self.send(number, prepare=pb.Prepare(request=request, request_id=f"req-{number}", **fields))
        return number

    async def go(self, generation_id: int, max_tokens: int = 100) -> None:
        await self.send(generation_id, go=pb.Go(max_tokens=max_tokens))

    async def cancel(self, generation_id: int) -> None:
        await self.send(generation_id, cancel=pb.Cancel())

    async def event(self, generation_id: int) -> pb.Event:
        queue = self._events.setdefault(generation_id, asyncio.Queue())
        return await asyncio.wait_for(queue.get(), PATIENCE)

    def nothing_for(self, generation_id: int) -> bool:
        return self._events.setdefault(generation_id, asyncio.Queue()).empty()

    async def to_end(self, generation_id: int) -> list[pb.Event]:
        """Every event up to finished or failed."""
        events = [await self.event(generation_id)]
        while events[-1].WhichOneof("event") not in ("finished", "failed"):
            events.append(await self.event(generation_id))
        return events

    async def start(self, request: pb.ChatRequest | None = None, max_tokens: int = 100, **fields: Any) -> int:
        """Prepares, reads Prepared, goes."""
        number = await self.prepare(request or chat(), **fields)
        event = await self.event(number)
        assert event.WhichOneof("event") == "prepared", event
        await self.go(number, max_tokens)
        return number

    async def answer(self, request: pb.ChatRequest | None = None, max_tokens: int = 100, **fields: Any) -> Answer:
        """One generation from prepare to its end."""
        number = await self.prepare(request or chat(), **fields)
        first = await self.event(number)
        if first.WhichOneof("event") == "failed":
            return Answer(None, [first])
        await self.go(number, max_tokens)
        return Answer(first.prepared, await self.to_end(number))

    async def close(self) -> None:
        self.call.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)


class Answer:
    """What one generation said."""

    def __init__(self, prepared: pb.Prepared | None, events: list[pb.Event]) -> None:
        self.prepared = prepared
        self.deltas = [event.delta for event in events if event.WhichOneof("event") == "delta"]
        last = events[-1]
        self.failed = last.failed if last.WhichOneof("event") == "failed" else None
        self.finished = last.finished if last.WhichOneof("event") == "finished" else None

    def text(self, choice: int = 0) -> str:
        return "".join(delta.text for delta in self.deltas if delta.choice == choice)

    def finish_reason(self, choice: int = 0) -> str:
        reasons = [d.finish_reason for d in self.deltas if d.choice == choice and d.finish_reason]
        assert len(reasons) == 1, reasons
        return pb.FinishReason.Name(reasons[0]).removeprefix("FINISH_REASON_")

    @property
    def tokens(self) -> int:
        return sum(delta.tokens for delta in self.deltas)


@contextlib.asynccontextmanager
async def open_session(
    address: str, token: str, session_id: bytes = b"s" * 16, *, hello: bool = True
) -> AsyncIterator[SessionClient]:
    """A connected client that has said hello."""
    peer = connect(address, token=token)
    client = SessionClient(peer, session_id)
    if hello:
        await client.hello()
    try:
        yield client
    finally:
        await client.close()
        await peer.close()
