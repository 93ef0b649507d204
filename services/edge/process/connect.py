"""From the edge's settings to the replicas of its peers: addresses, certificate or token, and what each may carry."""

from __future__ import annotations

from servicekit.errors import StartupError
from servicekit.rpc.client import Peer, check_plaintext, connect
from servicekit.settings import read_secret
from servicekit.tls.directory import TlsDirectory, open_tls
from services.edge.peers.inference.peer import LARGE_MESSAGE, SESSION_MESSAGE, Channels
from services.edge.peers.streaming.replicas import Replicas
from services.edge.peers.streaming.resolver import Resolver
from services.edge.serving.pipeline import Peers
from services.edge.settings import EdgeSettings

PREFIX = "MUHGPT_EDGE_"


def make_peers(settings: EdgeSettings, resolver: Resolver) -> Peers:
    """The replicas of auth, quota and inference. Raises StartupError for what cannot be used in the settings."""
    dial = Dial(_token(settings), open_tls(settings, "edge"))
    if settings.tls_directory is None and not settings.plaintext:
        for listed in (settings.auth_address, settings.quota_address, settings.inference_address):
            for address in listed.split(","):
                check_plaintext(address.strip(), prefix=PREFIX)
    every = settings.resolve_interval
    return Peers(
        Replicas("auth", settings.auth_address, dial.auth, resolver, interval=every),
        Replicas("quota", settings.quota_address, dial.quota, resolver, interval=every),
        Replicas("inference", settings.inference_address, dial.inference, resolver, interval=every),
    )


class Dial:
    """Connects to replicas as this edge: by its certificate, or in plaintext with its token."""

    def __init__(self, token: str | None, tls: TlsDirectory | None = None) -> None:
        self._token = token
        self._tls = tls

    def auth(self, address: str) -> Peer:
        """To a replica of auth."""
        return connect(address, token=self._token, service="auth", tls=self._tls)

    def quota(self, address: str) -> Peer:
        """To a replica of quota."""
        return connect(address, token=self._token, service="quota", tls=self._tls)

    def inference(self, address: str) -> Channels:
        """To a replica of inference."""
        small = connect(
            address, token=self._token, service="inference", tls=self._tls, max_message_bytes=SESSION_MESSAGE
        )
        large = connect(address, token=self._token, service="inference", tls=self._tls, max_message_bytes=LARGE_MESSAGE)
        return Channels(small, large)


def _token(settings: EdgeSettings) -> str | None:
    if settings.tls_directory is not None:
        return None
    if settings.edge_token_file is None:
        raise StartupError(f"setting {PREFIX}EDGE_TOKEN_FILE is missing, or {PREFIX}TLS_DIRECTORY")
    return read_secret(settings.edge_token_file)
