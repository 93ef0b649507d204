"""A peer that is slow to accept is not a peer that is away."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap

from grpc_health.v1 import health_pb2, health_pb2_grpc

from servicekit.rpc.client import connect

BUSY = 0.5  # seconds

SERVER = textwrap.dedent(
    """
    import asyncio, grpc
    from grpc_health.v1 import health, health_pb2_grpc

    async def main():
        server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
        print(server.add_insecure_port("127.0.0.1:0"), flush=True)
        await server.start()
        await server.wait_for_termination()

    asyncio.run(main())
    """
)


async def test_a_call_waits_for_a_peer_that_stands_still_for_a_moment() -> None:
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        server.send_signal(signal.SIGSTOP)
        asyncio.get_running_loop().call_later(BUSY, server.send_signal, signal.SIGCONT)
        peer = connect(f"127.0.0.1:{port}", token="t")
        check = health_pb2_grpc.HealthStub(peer.channel).Check
        answer = await peer.call(check, health_pb2.HealthCheckRequest(), timeout=20)
        assert answer.status == answer.SERVING
        await peer.close()
    finally:
        server.kill()
        await server.wait()
