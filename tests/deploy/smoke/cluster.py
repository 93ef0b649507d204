"""The overlay `local` in a real cluster, over kubectl: the one that KUBECONFIG names."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import httpx

from tests.deploy.rendered import NAMESPACE, OVERLAYS
from tests.deploy.smoke.site import Load

READY = "10m"  # for images to be unpacked, PostgreSQL to start, models to be loaded
COMMAND = 660.0  # seconds
FORWARDED = "127.0.0.1:18000"
LOAD = Path(__file__).parent / "load.py"
INSIDE = "http://edge:8000/v1"


class Cluster:
    """A Site (site.py) of the namespace `muhgpt`. What it installs it leaves there."""

    def __init__(self) -> None:
        self._forward: asyncio.subprocess.Process | None = None

    @property
    def base_url(self) -> str:
        return f"http://{FORWARDED}/v1"

    async def start(self) -> None:
        await self._kubectl("apply", "-k", str(OVERLAYS["local"]))
        await self._ready()
        await self._port_forward()

    async def stop(self) -> None:
        await self._end_forward()

    async def muhgpt(self, *arguments: str) -> Any:
        command = ("exec", "deploy/operator", "--", "muhgpt", *arguments, "--json")
        return json.loads(await self._kubectl(*command, may_fail=True))

    async def load(self, keys: list[str]) -> Load:
        process = await asyncio.create_subprocess_exec(
            *("kubectl", "-n", NAMESPACE, "exec", "-i", "deploy/operator", "--", "python", "-c", LOAD.read_text()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            limit=2**26,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"base_url": INSIDE, "keys": keys}).encode() + b"\n")
        load = Load(process)
        await load.streaming()
        return load

    async def restart(self, service: str) -> None:
        await self._kubectl("rollout", "restart", f"deployment/{service}")
        await self._kubectl("rollout", "status", f"deployment/{service}", f"--timeout={READY}")
        if service == "edge":  # the forward led to a pod that is gone
            await self._end_forward()
            await self._port_forward()

    async def _ready(self) -> None:
        await self._kubectl("rollout", "status", "statefulset/postgres", f"--timeout={READY}")
        await self._kubectl("wait", "--for=condition=Available", "deployment", "--all", f"--timeout={READY}")

    async def _port_forward(self) -> None:
        """Returns when the API answers through it."""
        port = FORWARDED.rpartition(":")[2]
        self._forward = await asyncio.create_subprocess_exec(
            *("kubectl", "-n", NAMESPACE, "port-forward", "service/edge", f"{port}:8000"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    if (await client.get(f"http://{FORWARDED}/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    assert self._forward.returncode is None, "kubectl port-forward ended"
                await asyncio.sleep(0.1)

    async def _end_forward(self) -> None:
        if self._forward is not None and self._forward.returncode is None:
            self._forward.terminate()
            await self._forward.wait()

    async def _kubectl(self, *arguments: str, may_fail: bool = False) -> str:
        """Its output. Fails with its words, unless what it runs may say with its exit code that something is wrong."""
        process = await asyncio.create_subprocess_exec(
            *("kubectl", "-n", NAMESPACE, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, errors = await asyncio.wait_for(process.communicate(), COMMAND)
        assert process.returncode == 0 or (may_fail and out), f"kubectl {' '.join(arguments)}\n{errors.decode()}"
        return out.decode()
