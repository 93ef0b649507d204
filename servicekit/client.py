"""Channels to other services: token, request id, deadline, keepalive, failures as RpcFailure."""

from __future__ import annotations

from typing import Any

import grpc

from servicekit import request_id, tracing
from servicekit.rpc_status import from_rpc_error
from servicekit.tls import TlsFiles

OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
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


class Peer:
    """One service at one address. Make stubs with `peer.channel`."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self.channel = channel
        self._authorization = f"Bearer {token}"

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata for opening a call: who we are and, within a request, its id and trace."""
        metadata: tuple[tuple[str, str], ...] = (("authorization", self._authorization),)
        current = request_id.current.get()
        if current:
            metadata = (*metadata, (request_id.METADATA_KEY, current))
        traceparent = tracing.current.get().traceparent
        return (*metadata, (tracing.HEADER, traceparent)) if traceparent else metadata

    async def call(self, method: Any, request: Any, *, timeout: float) -> Any:
        """One unary call with a deadline in seconds. Raises RpcFailure."""
        try:
            return await method(request, timeout=timeout, metadata=self.metadata())
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        await self.channel.close()


def connect(address: str, *, token: str, tls: TlsFiles | None = None, max_message_bytes: int = 4 * 1024 * 1024) -> Peer:
    """A channel to "host:port"; it connects with the first call. Must be made inside a running event loop."""
    options = [
        *OPTIONS,
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
    ]
    if tls is None:
        return Peer(grpc.aio.insecure_channel(address, options=options), token)
    return Peer(grpc.aio.secure_channel(address, tls.channel_credentials(), options=options), token)
