"""The platform as its users see it: HTTP to the edge with an API key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from muhgpt_cli.errors import CliError
from servicekit.sse import EventReader, EventTooLarge

CONNECT_TIMEOUT = 5.0  # seconds
ANSWER_TIMEOUT = 630.0  # a little more than the edge's own deadline for a request
DONE = b"[DONE]"


def http_client(url: str, **options: Any) -> httpx.AsyncClient:
    """A client for one server. Proxies of the environment are for other machines, never for this one."""
    return httpx.AsyncClient(trust_env=not local_host(httpx.URL(url)), **options)


def local_host(url: httpx.URL) -> bool:
    """Whether it leads to this machine itself."""
    return url.host in ("localhost", "127.0.0.1", "::1")


class Edge:
    """Use as `async with Edge(base_url, key) as edge`. Every method raises CliError with the server's own message."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url = base_url
        self._client = http_client(
            base_url,
            base_url=base_url,
            headers={"authorization": f"Bearer {key}"},
            timeout=httpx.Timeout(ANSWER_TIMEOUT, connect=CONNECT_TIMEOUT),
        )

    async def __aenter__(self) -> Edge:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON document of a read endpoint, for example "/usage"."""
        with _explained(self._base_url):
            answer = await self._client.get(path)
        if answer.is_error:
            raise _refusal(answer)
        document: dict[str, Any] = answer.json()
        return document

    async def chat(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a streamed chat completion."""
        reader = EventReader()
        async with self._stream(body) as answer:
            async for piece in answer.aiter_bytes():
                for event in self._read(reader, piece):
                    yield self._chunk(event)

    def _read(self, reader: EventReader, piece: bytes) -> list[bytes]:
        try:
            return [event for event in reader.feed(piece) if event != DONE]
        except EventTooLarge as error:
            raise CliError(f"{self._base_url} sent what no client can take: {error}") from None

    def _chunk(self, event: bytes) -> dict[str, Any]:
        try:
            chunk: dict[str, Any] = json.loads(event)
            problem = chunk.get("error")
        except (ValueError, AttributeError):
            raise CliError(
                f"{self._base_url} sent an event that is no JSON object; is it the right base URL?"
            ) from None
        if problem:
            raise CliError(str(problem["message"]))
        return chunk

    @asynccontextmanager
    async def _stream(self, body: dict[str, Any]) -> AsyncIterator[httpx.Response]:
        with _explained(self._base_url):
            async with self._client.stream("POST", "/chat/completions", json={**body, "stream": True}) as answer:
                if answer.is_error:
                    await answer.aread()
                    raise _refusal(answer)
                yield answer


class _explained:
    """Turns what can happen to a connection into a CliError."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            raise CliError(f"nothing answers at {self._base_url}; is the system running?") from None
        if isinstance(error, httpx.TimeoutException):
            raise CliError(f"{self._base_url} did not answer in time") from None
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            # Its text may quote the key (G11).
            raise CliError(f"the connection to {self._base_url} broke: {type(error).__name__}") from None


def _refusal(answer: httpx.Response) -> CliError:
    try:
        message = str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = "the answer is not in the API's form; is this the right base URL?"
    return CliError(f"{message} (HTTP {answer.status_code})")
