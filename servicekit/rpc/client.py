"""Channels to other services: token, request id, deadline, keepalive, failures as RpcFailure."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from servicekit.errors import StartupError
from servicekit.observability import tracing
from servicekit.observability.logging import get_logger
from servicekit.observability.outage_log import OutageLog
from servicekit.rpc import request_id
from servicekit.rpc.address import SocketPath, parse_endpoint
from servicekit.rpc.status import RpcFailure, from_rpc_error
from servicekit.tls.directory import Identity, TlsDirectory, channel_credentials, name_of
from servicekit.tls.server_certificate import exists, sockets_of

log = get_logger(__name__)

OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # No keepalive is sent while a ping that measures bandwidth is out, and that may take a minute by default (seen).
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A replica that comes back is found within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Not a pause, whatever it is called: how long one attempt to connect may take. A peer that is busy for a moment is
    # not away (seen: a busy machine took 0.3 s to accept, and the call's own deadline of 10 s never counted).
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Services reach each other directly, whatever http_proxy says about the world outside.
    ("grpc.enable_http_proxy", 0),
    # Retrying is decided by callers, who know what is idempotent.
    ("grpc.enable_retries", 0),
]

LINGER = 30 * 86_400.0  # seconds that the streams of a replaced channel may go on: longer than any answer


class Peer:
    """One service at one address. Make stubs with `peer.channel` for each call: it changes with our certificate."""

    def __init__(
        self, address: str, options: list[tuple[str, Any]], token: str | None, tls: TlsDirectory | None, service: str
    ) -> None:
        self.address = address
        self._service = service
        self._options = options
        self._authorization = f"Bearer {token}" if token else None
        self._tls = tls
        self._identity: Identity | None = None
        self._channel: grpc.aio.Channel | None = None
        self._strangers = OutageLog(log, "server_not_believed", "server_believed", calm=0.0)
        self._believed: frozenset[int] = frozenset()  # connections whose server has shown its role's own name
        self._parting: set[asyncio.Task[None]] = set()

    @property
    def channel(self) -> grpc.aio.Channel:
        """The channel for a new call. After our files changed it is another one; calls under way end on the old."""
        identity = self._tls.current() if self._tls else None
        if self._channel is None or identity is not self._identity:
            self._part()
            self._identity = identity
            self._channel = self._dial(identity)
            self._believed = frozenset()
        return self._channel

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata for opening a call: who we are and, within a request, its id and trace."""
        metadata: tuple[tuple[str, str], ...] = (("authorization", self._authorization),) if self._authorization else ()
        current = request_id.current.get()
        if current:
            metadata = (*metadata, (request_id.METADATA_KEY, current))
        traceparent = tracing.current.get().traceparent
        return (*metadata, (tracing.HEADER, traceparent)) if traceparent else metadata

    async def call(self, method: Any, request: Any, *, timeout: float) -> Any:
        """One unary call with a deadline in seconds. Raises RpcFailure."""
        await self.verified(timeout)
        try:
            return await method(request, timeout=timeout, metadata=self.metadata())
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def verified(self, timeout: float) -> None:
        """Returns once the server has shown a certificate that names its role itself; at once without TLS.

        To be awaited before anything is sent on a stream. Raises RpcFailure: UNAVAILABLE when it cannot be reached
        within `timeout` seconds, or is somebody else, to whom the connection is closed.
        """
        if self._tls is None or (self._believed and all(map(exists, self._believed))):
            return
        try:
            async with asyncio.timeout(timeout):
                await self._connected(self.channel)
        except TimeoutError:
            raise RpcFailure(grpc.StatusCode.UNAVAILABLE, f"{self.address} was not reached in time") from None
        shown = sockets_of(self.address)
        if not shown or any(name_of(self._service) not in names for names in shown.values()):
            channel, self._channel = self._channel, None
            if channel is not None:
                await channel.close()
            self._strangers.failed(address=self.address, wanted=name_of(self._service))
            raise RpcFailure(
                grpc.StatusCode.UNAVAILABLE, f"the certificate of {self.address} does not name {name_of(self._service)}"
            )
        self._strangers.succeeded(address=self.address)
        self._believed = frozenset(shown)

    @staticmethod
    async def _connected(channel: grpc.aio.Channel) -> None:
        """Raises RpcFailure as soon as an attempt to connect has failed."""
        while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                raise RpcFailure(grpc.StatusCode.UNAVAILABLE, "failed to connect")
            await channel.wait_for_state_change(state)

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled. Streams of former channels are their openers' to end."""
        for task in self._parting:
            task.cancel()
        await asyncio.gather(*self._parting, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()

    async def close_when_idle(self) -> None:
        """Takes no new calls, and returns when those under way have ended and all is closed."""
        self._part()
        await asyncio.gather(*self._parting)

    def _dial(self, identity: Identity | None) -> grpc.aio.Channel:
        if identity is None:
            return grpc.aio.insecure_channel(self.address, options=self._options)
        return grpc.aio.secure_channel(self.address, channel_credentials(identity), options=self._options)

    def _part(self) -> None:
        """Lets the present channel's calls end in peace."""
        if self._channel is None:
            return
        task = asyncio.create_task(self._channel.close(grace=LINGER))
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)


def connect(
    address: str,
    *,
    token: str | None = None,
    service: str = "",
    tls: TlsDirectory | None = None,
    max_message_bytes: int = 4 * 1024 * 1024,
) -> Peer:
    """A peer at "host:port" or "unix:/path"; it connects with the first call, made inside a running event loop.

    With `tls` the peer must own a certificate of the role `service`, whatever its address is.
    """
    options: list[tuple[str, Any]] = [
        *OPTIONS,
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]
    if tls is not None:
        if not service:
            raise ValueError("with TLS the service that is meant must be named")
        options.append(("grpc.ssl_target_name_override", name_of(service)))
    return Peer(address, options, token, tls, service)


def check_plaintext(address: str, *, prefix: str) -> None:
    """Raises StartupError unless the address is on loopback, or a socket in a folder of this user alone: for callers
    without TLS and without leave.

    prefix is that of the caller's settings, "MUHGPT_EDGE_".
    """
    endpoint = parse_endpoint(address)
    if isinstance(endpoint, SocketPath):
        endpoint.check_private()
    elif not endpoint.loopback:
        raise StartupError(
            f"{address} would be spoken to in plaintext: name a certificate with {prefix}TLS_DIRECTORY, "
            f"or allow it with {prefix}PLAINTEXT=true"
        )
