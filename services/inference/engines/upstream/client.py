"""HTTP to one upstream."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from services.inference.domain.errors import TargetFailed
from services.inference.engines.upstream.answer_events import MAX_BODY
from services.inference.engines.upstream.http.awaited import AwaitedAnswer, HttpFailed
from services.inference.engines.upstream.http.client import HttpClient
from services.inference.engines.upstream.http.dial import system_trust
from services.inference.engines.upstream.http.receiver import (
    HttpCall,
    HttpFailure,
    HttpFault,
    HttpReceiver,
    HttpRequest,
)
from services.inference.engines.upstream.refusals import failure_of_target

FIXED_HEADERS = {
    "Accept": "*/*",
    "User-Agent": "muhgpt",
    "Content-Type": "application/json",
    "Accept-Encoding": "identity",
}


class UpstreamClient:
    """Sends requests to one server. Raises TargetFailed when it cannot be reached or speaks another protocol.

    Redirects are not followed and proxies not used: the key goes to the server that the list names and nowhere else.
    """

    def __init__(self, headers: Mapping[str, str], *, connect_timeout: float, reuse: bool) -> None:
        """`reuse`: connections are used again; not with llama.cpp, which closes a stream's without saying so."""
        listed = {name.lower() for name in headers}
        fixed = {name: value for name, value in FIXED_HEADERS.items() if name.lower() not in listed}
        system_trust()  # reads files, so not while answers run
        self._http = HttpClient({**fixed, **headers}, connect_timeout=connect_timeout, reuse=reuse)

    def send(self, url: str, body: bytes, receiver: HttpReceiver) -> HttpCall:
        """Asks for an answer, which `receiver` gets as it comes. Cancelling the call closes its connection at once."""
        return self._send(HttpRequest("POST", url, body), receiver)

    async def post(self, url: str, body: bytes, timeout: float) -> tuple[int, bytes]:
        """A small question: status and body."""
        return await self._ask(HttpRequest("POST", url, body), timeout)

    async def get(self, url: str, timeout: float) -> tuple[int, bytes]:
        """The same without a body."""
        return await self._ask(HttpRequest("GET", url), timeout)

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.close()

    async def _ask(self, request: HttpRequest, timeout: float) -> tuple[int, bytes]:
        answer = AwaitedAnswer()
        answer.call = self._send(request, answer)
        try:
            async with asyncio.timeout(timeout):
                return await answer.head(), await _whole(answer)
        except HttpFailed as error:
            raise failure_of_target(error.failure) from None
        except TimeoutError:
            raise TargetFailed("the upstream did not answer in time", "timeout") from None
        finally:  # what was read to its end has given its connection back already
            answer.call.cancel()

    def _send(self, request: HttpRequest, receiver: HttpReceiver) -> HttpCall:
        try:
            return self._http.send(request, receiver)
        except ValueError as error:
            raise failure_of_target(HttpFailure(HttpFault.UNREACHABLE, str(error))) from None


async def _whole(answer: AwaitedAnswer) -> bytes:
    """An answer's body. Raises TargetFailed above MAX_BODY."""
    data = bytearray()
    while piece := await answer.read():
        data += piece
        if len(data) > MAX_BODY:
            raise TargetFailed("the upstream's answer is too large", "protocol")
    return bytes(data)
