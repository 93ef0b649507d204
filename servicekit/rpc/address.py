"""Where something listens: host:port, or the path of a Unix socket."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from servicekit.errors import StartupError

UNIX = "unix:"
MAX_PATH_BYTES = 100  # of a socket; Linux takes 107, macOS 103
_PLAIN = re.compile(r"/[A-Za-z0-9/_.-]+")  # gRPC reads addresses as URIs, and lists of them are split at commas


@dataclass(frozen=True)
class Address:
    """Where something listens. IPv6 hosts are written in brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads "host:port". Raises StartupError that shows the text."""
        host, colon, port = text.rpartition(":")
        if not colon or not host or not port.isdecimal() or int(port) > 65535:
            raise StartupError(f"{text!r} is not an address; write host:port, for example 127.0.0.1:8000")
        return cls(host.strip("[]"), int(port))

    @property
    def loopback(self) -> bool:
        """True when nothing sent there leaves this machine, whatever name servers say."""
        return self.host == "localhost" or (self.literal and ipaddress.ip_address(self.host).is_loopback)

    @property
    def literal(self) -> bool:
        """True when the host is an IP address and no name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class SocketPath:
    """A Unix socket, written unix:/PATH. Whoever may reach it is decided by the file system: only its owner may."""

    path: Path

    loopback = True
    literal = True

    @classmethod
    def parse(cls, text: str) -> SocketPath:
        """Reads "unix:/path". Raises StartupError that shows the text."""
        path = text.removeprefix(UNIX)
        if not cls.possible(path):
            raise StartupError(
                f"{text!r} is not a Unix socket's address; write unix:/PATH, with at most {MAX_PATH_BYTES} letters, "
                "digits, and / . _ -"
            )
        return cls(Path(path))

    @staticmethod
    def possible(path: str) -> bool:
        """Whether a socket may have this path: short, absolute, and without characters that mean something in URIs."""
        return len(path) <= MAX_PATH_BYTES and _PLAIN.fullmatch(path) is not None

    def check_private(self) -> None:
        """Raises StartupError when another user could have put a socket here: its folder is not ours alone."""
        folder = self.path.parent
        try:
            found = os.lstat(folder)
        except OSError as error:
            raise StartupError(f"the folder of {self} cannot be looked at: {error.strerror}") from None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise StartupError(
                f"{folder} must be a folder of this user alone, or others could listen at {self}: chmod 700"
            )

    def in_use(self) -> bool:
        """Whether something listens there. A socket that a process left behind is not in use."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(str(self.path))
            except OSError:
                return False
        return True

    def __str__(self) -> str:
        return f"{UNIX}{self.path}"


Endpoint = Address | SocketPath


def parse_endpoint(text: str) -> Endpoint:
    """Reads "host:port" or "unix:/path". Raises StartupError that shows the text."""
    return SocketPath.parse(text) if text.startswith(UNIX) else Address.parse(text)
