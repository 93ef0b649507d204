"""Many handshakes at once, session tickets, and what gRPC does when the certificate in use is replaced among them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.certificates import Authority, write_directory

CONNECTIONS = 16  # at once
HANDSHAKES = 4_000  # a server that replaced what it uses with each of them had crashed after 2,100 at most
RUN = 60.0  # seconds, on a busy machine

SERVER = textwrap.dedent(
    """
    import servicekit, asyncio, grpc, sys
    from pathlib import Path
    from servicekit.tls.directory import TlsDirectory

    async def main():
        credentials = TlsDirectory(Path(sys.argv[1]), "quota").server_credentials(float(sys.argv[2]))
        server = grpc.aio.server()
        print(server.add_secure_port("127.0.0.1:0", credentials), flush=True)
        await server.start()
        await server.wait_for_termination()

    asyncio.run(main())
    """
)


@contextmanager
def serving(folder: Path, tickets: float) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server in a process of its own, and its port."""
    program = [sys.executable, "-c", SERVER, str(folder), str(tickets)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        try:
            assert server.stdout is not None
            yield server, int(server.stdout.readline())
        finally:
            server.kill()


class Caller:
    """An edge that shakes hands and leaves."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        files = write_directory(folder, "edge", authority)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.load_verify_locations(files / "ca.crt")
        self._context.load_cert_chain(files / "tls.crt", files / "tls.key")
        self._context.set_alpn_protocols(["h2"])

    def call(self, port: int, session: ssl.SSLSession | None = None) -> tuple[ssl.SSLSession | None, bool | None]:
        """The session that was given, and whether it was the former one."""
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
            self._context.wrap_socket(raw, server_hostname="quota.muhgpt.internal", session=session) as connection,
        ):
            connection.recv(1)  # HTTP/2's settings; tickets come before them
            return connection.session, connection.session_reused


@pytest.mark.parametrize("tickets", [600.0, 0.05])  # seconds: never replaced here, and all the time
async def test_handshakes_at_once_do_not_crash_the_server(tmp_path: Path, tickets: float) -> None:
    authority = Authority()
    caller = Caller(tmp_path / "edge", authority)
    left = threading.Semaphore(HANDSHAKES if tickets > 1 else HANDSHAKES // 10)
    failed: list[OSError] = []

    def call_on() -> None:
        while left.acquire(blocking=False) and not failed:
            try:
                caller.call(port)
            except OSError as error:
                failed.append(error)

    files, loop = write_directory(tmp_path / "quota", "quota", authority), asyncio.get_running_loop()
    with serving(files, tickets) as (server, port), ThreadPoolExecutor(CONNECTIONS) as threads:
        async with asyncio.timeout(RUN):
            await asyncio.gather(*(loop.run_in_executor(threads, call_on) for _ in range(CONNECTIONS)))
        assert failed == []
        assert server.poll() is None


async def test_nobody_comes_in_again_with_a_ticket_when_it_is_old_or_the_files_have_changed(tmp_path: Path) -> None:
    """TLS 1.3's session tickets let a peer in without its certificate, which may have expired since."""
    authority = Authority()
    caller = Caller(tmp_path / "edge", authority)
    files = write_directory(tmp_path / "quota", "quota", authority)

    def again(port: int, *, exchanged: bool = False) -> bool | None:
        session, _ = caller.call(port)
        assert session is not None
        assert session.has_ticket
        if exchanged:
            write_directory(files, "quota", authority)
        return caller.call(port, session)[1]

    with serving(files, 0.0) as (_, port):
        assert await asyncio.to_thread(again, port) is False
    with serving(files, 600.0) as (_, port):
        assert await asyncio.to_thread(again, port) is True
        assert await asyncio.to_thread(again, port, exchanged=True) is False
