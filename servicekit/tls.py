"""Mutual TLS from files. Absent: plaintext, which main allows on loopback only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import grpc

from servicekit.errors import StartupError


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of one process: its certificate and key, and the authority that signs its peers'."""

    certificate: Path
    key: Path
    authority: Path

    def server_credentials(self) -> grpc.ServerCredentials:
        """Credentials that demand a peer certificate. Raises StartupError when a file cannot be read."""
        return grpc.ssl_server_credentials(
            [(_read(self.key), _read(self.certificate))], _read(self.authority), require_client_auth=True
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Credentials that show our certificate and check the server's. Raises StartupError likewise."""
        return grpc.ssl_channel_credentials(_read(self.authority), _read(self.key), _read(self.certificate))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"cannot read the TLS file {path}: {error.strerror}") from None
