"""Opens a connection: the first of a host's addresses that answers (RFC 8305), then TLS."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import TypeVar

from services.inference.engines.upstream.http.origin import Origin
from services.inference.engines.upstream.http.resolver import Resolver, SocketAddress

STAGGER = 0.25  # seconds after which the next address is tried beside the one before

P = TypeVar("P", bound=asyncio.Protocol)


@functools.cache
def system_trust() -> ssl.SSLContext:
    """TLS as the system trusts it: its CAs (or SSL_CERT_FILE's), names checked. Reads files: call it before serving."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(origin: Origin, resolver: Resolver, tls: ssl.SSLContext | None, new_protocol: Callable[[], P]) -> P:
    """A protocol that is connected. Raises OSError (ssl.SSLError among them) and ValueError."""
    addresses = await resolver.addresses(origin.host, origin.port)
    connected = await first_connected(addresses)
    context = (tls or system_trust()) if origin.secure else None
    _, protocol = await asyncio.get_running_loop().create_connection(
        new_protocol, sock=connected, ssl=context, server_hostname=origin.tls_name
    )
    return protocol


async def first_connected(addresses: Sequence[SocketAddress], stagger: float = STAGGER) -> socket.socket:
    """A socket to the address that answers first; each is tried when the one before fails or is late.

    Raises the last failure's OSError.
    """
    waiting, running = list(addresses), set[asyncio.Task[socket.socket]]()
    failure: BaseException = OSError("the name has no address")
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.ensure_future(_connected(waiting.pop(0))))
            timeout = stagger if waiting else None
            done, running = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            winners = [task for task in done if task.exception() is None]
            if winners:
                running.update(winners[1:])
                return winners[0].result()
            failure = next((task.exception() or failure for task in done), failure)
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_discard)
    raise failure


async def _connected(to: SocketAddress) -> socket.socket:
    made = socket.socket(to.family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, to.address)
    except BaseException:
        made.close()
        raise
    return made


def _discard(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
