"""Starting other programs from a process whose gRPC is at work."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

CHILDREN = 150

PROGRAM = textwrap.dedent(
    f"""
    import services.quota.main  # as the services' entries import: gRPC comes somewhere below
    import asyncio, sys, grpc, uvloop
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    async def main():
        server, servicer = grpc.aio.server(), health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{{port}}")
        stub = health_pb2_grpc.HealthStub(channel)

        async def call():
            while True:
                await stub.Check(health_pb2.HealthCheckRequest())

        calls = [asyncio.create_task(call()) for _ in range(4)]
        codes = []
        for _ in range({CHILDREN}):
            child = await asyncio.create_subprocess_exec("true")
            codes.append(await child.wait())
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await channel.close()
        await server.stop(None)
        print(sum(code != 0 for code in codes), "of", len(codes), "died")

    uvloop.run(main())
    """
)


async def test_no_child_dies_of_grpcs_fork_handlers() -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout == f"0 of {CHILDREN} died\n", done.stderr[-2000:]
