"""The worker's HTTP interface: llama.cpp's own server, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import orjson

from services.inference.domain.engine import Sink
from services.inference.domain.errors import EngineUnavailable, InvalidRequest
from services.inference.engines.upstream.http.client import HttpClient
from services.inference.engines.upstream.http.receiver import Headers, HttpFailure, HttpRequest

SHORT = aiohttp.ClientTimeout(total=30)
# Of a stream. A generation's own deadline ends it; a worker that stalls is killed by the watchdog.
CONNECT_TIMEOUT = 5.0  # seconds
KEEPALIVE = 2.0  # seconds; the worker closes idle connections after 5
ASK_AGAIN = 0.05  # seconds before the watchdog's question is put once more
LAST_READS = 0.5  # seconds in which whoever reads from a dead worker finds that out


class WorkerClient:
    """Talks to one worker process. Raises EngineUnavailable whenever it does not answer as it should."""

    def __init__(self, address: str, key: str, connections: int) -> None:
        self.address = address
        self.key = key
        self._closed = False
        self.running = 0  # calls under way
        self._idle = asyncio.Event()
        self._idle.set()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._http = aiohttp.ClientSession(
            base_url=address,
            headers=headers,
            connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEPALIVE),
            auto_decompress=False,
        )
        self._fresh = aiohttp.ClientSession(
            base_url=address,
            headers=headers,
            connector=aiohttp.TCPConnector(limit=connections, force_close=True),
            auto_decompress=False,
        )

        self._streams = HttpClient(headers, connect_timeout=CONNECT_TIMEOUT, reuse=False)

    async def context_length(self) -> int:
        """Tokens of one slot, as the worker made it: it never exceeds what the model was trained for."""
        return int((await self._get("/props"))["default_generation_settings"]["n_ctx"])

    async def vocabulary_size(self) -> int:
        """How many tokens the model knows."""
        return int((await self._get("/v1/models"))["data"][0]["meta"]["n_vocab"])

    async def sees(self) -> bool:
        """Whether it takes pictures."""
        return bool((await self._get("/props"))["modalities"]["vision"])

    async def render(self, conversation: bytes) -> str:
        """A conversation's prompt (JSON in, text out) by the model's template. Raises InvalidRequest."""
        status, body = await self._post("/apply-template", conversation)
        if status == 200:
            return str(orjson.loads(body)["prompt"])
        raise InvalidRequest(
            "the model's chat template refuses these messages; most want the roles user and assistant in turn",
            param="messages",
        )

    async def count(self, conversation: bytes) -> int:
        """The tokens of a conversation's prompt, with those of its pictures; nothing is computed for it."""
        path = "/v1/chat/completions/input_tokens"
        status, body = await self._post(path, conversation)
        if status != 200:
            raise EngineUnavailable(f"the worker answered {status} to {path}")
        return int(orjson.loads(body)["input_tokens"])

    async def tokenize(self, content: str | Sequence[str | int], *, special: bool, begins: bool = True) -> list[int]:
        """Token ids of a text, or of texts with token ids between them; `special`: control tokens are read as such.

        `begins`: a special text is a prompt's beginning, to which some models add a token.
        """
        data = orjson.dumps({"content": content, "add_special": special and begins, "parse_special": special})
        status, body = await self._post("/tokenize", data)
        if status != 200:
            raise EngineUnavailable(f"the worker answered {status} to /tokenize")
        tokens: list[int] = orjson.loads(body)["tokens"]
        return tokens

    async def is_control(self, token: str) -> bool:
        """Whether a token's letters are read as anything else than text."""
        return await self.tokenize(token, special=True, begins=False) != await self.tokenize(token, special=False)

    async def complete(self, body: dict[str, Any], feed: Callable[[bytes], bool], sink: Sink | None = None) -> bool:
        """Feeds the raw server-sent events of a completion as they come, until `feed` returns True: it has enough.

        Returns whether it had. `sink` is what `feed` fills: it may hold the worker back. Cancelling this frees the
        worker's slot at once.
        """
        with self._call():
            completion = Completion(feed)
            request = HttpRequest("POST", f"{self.address}/completion", orjson.dumps(body))
            call = self._streams.send(request, completion)
            try:
                if sink is not None:
                    sink.attach(call)
                return await completion.over
            finally:  # also of a whole one: the worker closes a stream's connection without saying so
                call.cancel()
                if sink is not None:
                    sink.detach(call)

    async def answers(self, timeout: float) -> bool:
        """Whether the loop that generates answers within so many seconds; /health alone would not ask it.

        A connection that fails says nothing about that loop, so the question is put again until the time is over.
        """
        try:
            async with asyncio.timeout(timeout):
                while not await self._answered():  # noqa: ASYNC110  asks again, waits for no event
                    await asyncio.sleep(ASK_AGAIN)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Closes all connections. Call it when the worker has ended, so that calls under way end by that.

        Of a connection that it closes itself, aiohttp tells no reader (seen: a stream hung until its client left).
        """
        self._closed = True
        with contextlib.suppress(TimeoutError):  # one whose client does not read finds it out when it does
            async with asyncio.timeout(LAST_READS):
                await self._idle.wait()
        await self._streams.close()
        await self._http.close()
        await self._fresh.close()

    async def _answered(self) -> bool:
        # On a connection of its own: one of the pool may be one that the worker just closed (seen: a worker that was
        # busy and well was killed for it).
        try:
            async with self._fresh.get("/metrics") as response:
                await response.read()
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def _get(self, path: str) -> Any:
        with self._call():
            try:
                async with self._http.get(path, timeout=SHORT) as response:
                    return orjson.loads(await response.read())
            except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError) as error:
                raise EngineUnavailable(f"the worker did not answer {path}: {type(error).__name__}") from None

    async def _post(self, path: str, data: bytes) -> tuple[int, bytes]:
        async with self._sending(path, data, SHORT) as response:
            return response.status, await response.read()

    @asynccontextmanager
    async def _sending(
        self, path: str, data: bytes, timeout: aiohttp.ClientTimeout
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        with self._call():
            try:
                response = await self._send(path, data, timeout)
                async with response:
                    yield response
            except (aiohttp.ClientError, TimeoutError) as error:
                raise EngineUnavailable(f"the worker stopped answering {path}: {type(error).__name__}") from None

    @contextmanager
    def _call(self) -> Generator[None]:
        if self._closed:
            raise EngineUnavailable("the worker is gone")
        self.running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.running -= 1
            if not self.running:
                self._idle.set()

    async def _send(self, path: str, data: bytes, timeout: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        try:
            return await self._http.post(path, data=data, timeout=timeout)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # A connection that the worker had just closed, which it does after a hundred requests and without a word:
            # once more, on one of its own. Another one of the pool would be as old (seen: 502 under load).
            return await self._fresh.post(path, data=data, timeout=timeout)


class Completion:
    """One completion as its bytes come. Implements HttpReceiver."""

    def __init__(self, feed: Callable[[bytes], bool]) -> None:
        self.over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()  # whether `feed` had enough
        self._feed = feed

    def on_head(self, status: int, headers: Headers) -> None:
        """See HttpReceiver."""
        if status != 200:
            self._fail(EngineUnavailable(f"the worker answered {status} to /completion"))

    def on_data(self, data: bytes) -> None:
        """See HttpReceiver."""
        if self.over.done():
            return
        try:
            if self._feed(data):
                self.over.set_result(True)
        except Exception as error:  # noqa: BLE001  (complete() raises it)
            self._fail(error)

    def on_end(self) -> None:
        """See HttpReceiver."""
        if not self.over.done():
            self.over.set_result(False)

    def on_error(self, failure: HttpFailure) -> None:
        """See HttpReceiver."""
        self._fail(EngineUnavailable(f"the worker stopped answering /completion: {failure.detail}"))

    def _fail(self, error: Exception) -> None:
        if not self.over.done():
            self.over.set_exception(error)
