"""What every gRPC service begins with: settings, logs, traces, credentials, and the server that they describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from servicekit.observability import logging, tracing
from servicekit.observability.metrics import serve_metrics
from servicekit.process.file_limit import raise_file_limit
from servicekit.rpc.access import Tokens, read_tokens
from servicekit.rpc.server import Server
from servicekit.settings import ServiceSettings, load
from servicekit.tls.directory import TlsDirectory, open_tls

Settings = TypeVar("Settings", bound=ServiceSettings)


@dataclass(frozen=True)
class Service(Generic[Settings]):
    """One service's process: what it was told, and by what it knows its callers."""

    name: str
    settings: Settings
    tokens: Tokens | None
    tls: TlsDirectory | None

    def serve_metrics(self) -> None:
        """Serves them from now on. Raises StartupError when the port is taken."""
        serve_metrics(self.settings.metrics_listen)

    def server(self, **more: Any) -> Server:
        """The server that the settings describe, not started; `more` as Server takes it."""
        settings = self.settings
        return Server(
            name=self.name,
            listen=settings.listen,
            tokens=self.tokens,
            tls=self.tls,
            plaintext=settings.plaintext,
            health_listen=settings.health_listen,
            drain_timeout=settings.drain_timeout,
            address_file=settings.address_file,
            **more,
        )


def begin_service(name: str, kind: type[Settings]) -> Service[Settings]:
    """Reads the settings and sets up the process by them. Raises StartupError that says what is wrong with which."""
    settings = load(kind)
    logging.configure(name, format=settings.log_format, level=settings.log_level)
    raise_file_limit()
    tracing.configure(name)
    return Service(name, settings, read_tokens(settings), open_tls(settings, name))
