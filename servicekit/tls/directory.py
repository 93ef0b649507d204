"""Mutual TLS from a directory that is read again when its files change. What it means to callers: docs/tls.md."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from servicekit import IMPORTED_BEFORE_GRPC
from servicekit.clock import Clock, SystemClock
from servicekit.errors import StartupError
from servicekit.observability.logging import get_logger
from servicekit.observability.metrics import CERTIFICATE_EXPIRES
from servicekit.settings import ProcessSettings
from servicekit.tls.selfcheck import NotUsable, rehearse

log = get_logger(__name__)

DOMAIN = "muhgpt.internal"
FILES = ("tls.crt", "tls.key", "ca.crt")  # as cert-manager names them in a Secret
TICKETS = 600.0
# Seconds before gRPC replaces what handshakes use. It frees it without looking who is about to use it: a handshake that
# has just asked and not yet begun crashes the process (gRPC issue 36693; seen after 1,500 handshakes on 16 connections,
# when each replaced it). Whoever asks meanwhile waits, and who has asked needs microseconds.
QUIET = 0.2
ATTEMPTS = 5  # at reading files that are exchanged meanwhile


def name_of(role: str) -> str:
    """The DNS name in the certificates of a role: edge, auth, quota, inference or operator."""
    return f"{role}.{DOMAIN}"


@dataclass(frozen=True)
class Identity:
    """What the files held when they were last usable, in PEM. `expires` is Unix seconds."""

    certificate: bytes
    key: bytes
    authority: bytes
    expires: float


class TlsDirectory:
    """The files of one role. Safe to use from any thread: gRPC asks for certificates from its own."""

    def __init__(self, path: Path, role: str, on_read: Callable[[Identity], None] = lambda identity: None) -> None:
        """`on_read` is told each identity that comes in force. Raises StartupError that says which file and why."""
        if not IMPORTED_BEFORE_GRPC:
            raise RuntimeError("import servicekit before grpc, or TLS 1.2 is taken, too (servicekit/__init__.py)")
        self._path = path
        self._role = role
        self._on_read = on_read
        self._lock = threading.Lock()
        self._seen: object = None
        self._problem = ""
        try:
            self._identity = self._read()
        except NotUsable as error:
            raise StartupError(f"{path} does not hold a certificate for {name_of(role)}: {error}") from None
        on_read(self._identity)

    def current(self) -> Identity:
        """The identity in force, always the same object until the files changed. Costs three stats.

        Files that cannot be used are logged once, and what was in force stays.
        """
        with self._lock:
            try:
                if self._look() != self._seen:
                    self._exchange()
            except NotUsable as error:
                self._complain(str(error))
            return self._identity

    def server_credentials(self, tickets: float = TICKETS, clock: Clock | None = None) -> grpc.ServerCredentials:
        """Credentials that demand a certificate of each peer, and follow the files with each handshake.

        What was used for `tickets` seconds is replaced even when the files are the same: with it go the session tickets
        by which a peer may come in again without showing its certificate, even when that has expired.
        """
        clock = clock or SystemClock()
        used, since = self.current(), clock.monotonic()

        def follow() -> grpc.ServerCertificateConfiguration | None:
            """What the next handshake uses; None: the same as the last. gRPC asks one thread at a time."""
            nonlocal used, since
            if self.current() is used and clock.monotonic() - since < tickets:
                return None
            time.sleep(QUIET)
            used, since = self.current(), clock.monotonic()
            return _configuration(used)

        return grpc.dynamic_ssl_server_credentials(_configuration(used), follow, require_client_authentication=True)

    def _exchange(self) -> None:
        self._identity = self._read()
        self._problem = ""
        log.info("certificate_read", directory=str(self._path), role=self._role, expires=self._identity.expires)
        self._on_read(self._identity)

    def _read(self) -> Identity:
        """Reads files that belong together: they are exchanged at once, but may be while we read one after the other.

        Raises NotUsable.
        """
        for _ in range(ATTEMPTS):
            self._seen = self._look()  # whatever comes of it: it is not read again until it changes
            try:
                identity = self._read_once()
            except NotUsable:
                if self._look() == self._seen:
                    raise
                continue
            if self._look() == self._seen:
                return identity
        raise NotUsable("the files keep changing")

    def _read_once(self) -> Identity:
        certificate, key, authority = (_content(self._path / name) for name in FILES)
        expires = rehearse(self._path / FILES[0], self._path / FILES[1], authority, name_of(self._role))
        return Identity(certificate, key, authority, expires)

    def _look(self) -> object:
        """What tells one state of the files from another, links followed. Raises NotUsable."""
        marks = []
        for name in FILES:
            try:
                found = os.stat(self._path / name)
            except OSError as error:
                raise _unreadable(name, error) from None
            marks.append((found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
        return marks

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            log.error("certificate_not_usable", directory=str(self._path), role=self._role, problem=problem)


def open_tls(settings: ProcessSettings, role: str) -> TlsDirectory | None:
    """The directory that the settings name; None: plaintext. Raises StartupError when its files cannot be used."""
    if settings.tls_directory is None:
        return None
    expires = CERTIFICATE_EXPIRES.labels(role)
    return TlsDirectory(settings.tls_directory, role, on_read=lambda identity: expires.set(identity.expires))


def channel_credentials(identity: Identity) -> grpc.ChannelCredentials:
    """Credentials that show our certificate and check the server's chain."""
    return grpc.ssl_channel_credentials(identity.authority, identity.key, identity.certificate)


def _configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(identity.key, identity.certificate)], identity.authority)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path.name, error) from None


def _unreadable(name: str, error: OSError) -> NotUsable:
    return NotUsable(f"{name} cannot be read ({error.strerror}); it must hold {', '.join(FILES)}")
