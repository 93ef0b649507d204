"""One pod of the manifests, as a process or from its image: command, variables, files and probes, at its own address.

What differs from a cluster: `0.0.0.0` is the pod's address, Services' names are addresses (network.py), paths of
volumes lie in a folder, and preStop is not waited for, because here an endpoint is gone at once.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.checks.platform import target, targets
from tests.deploy.rendered import Document, Manifests, Workload
from tests.deploy.smoke.standin.engine import Engine
from tests.deploy.smoke.standin.network import Names, address

START = 180.0  # seconds, on a very busy machine
ASK = 2.0  # seconds for one probe
BETWEEN = 0.1  # seconds between two probes while a pod starts
OWN = {"python": sys.executable}


class Pod:
    """One replica. `secrets`: data by Secret."""

    def __init__(
        self,
        manifests: Manifests,
        workload: Workload,
        replica: int,
        *,
        names: Names,
        secrets: dict[str, dict[str, bytes]],
        folder: Path,
        engine: Engine | None = None,
    ) -> None:
        self.workload = workload
        self.address = address(workload.name, replica)
        self._manifests = manifests
        self._names = names
        self._secrets = secrets
        self._engine = engine
        self._name = f"{folder.name}-{workload.name}-{replica}"
        self._folder = folder / f"{workload.name}-{replica}"
        self._log = folder / f"{workload.name}-{replica}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._write_volumes()

    @property
    def grace(self) -> float:
        """Seconds from SIGTERM to SIGKILL."""
        return float(self.workload.pod.get("terminationGracePeriodSeconds", 30))

    def environment(self, container: Document) -> dict[str, str]:
        """What the container's process gets, on this machine."""
        local = {name: self._local(container, value) for name, value in self._variables(container).items()}
        return self._surroundings() | {"TMPDIR": str(self._folder / "tmp")} | local

    def invocation(self, container: Document) -> tuple[list[str], dict[str, str]]:
        """What runs a container, and its variables: the manifest's command, or else the image's."""
        command = container.get("command") or targets()[str(target(container))]
        if self._engine is None:
            return [OWN.get(command[0], command[0]), *command[1:]], self.environment(container)
        variables, context = self._variables(container), self.workload.pod["securityContext"]
        paths = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        run = self._engine.run(
            self._name,
            container["image"],
            command,
            user=f"{context['runAsUser']}:{context['runAsGroup']}",
            variables=variables,
            folders={path: f"{self._folder}{path}" for path in paths if path != "/tmp"},
        )
        return run, self._surroundings() | variables

    def _variables(self, container: Document) -> dict[str, str]:
        found = {}
        for name, value in self._manifests.environment(container).items():
            if not isinstance(value, str):
                value = self._secrets[value["name"]][value["key"]].decode()
            value = self._names.resolve(value, all_replicas=self.workload.name == "edge")
            found[name] = value.replace("0.0.0.0", self.address)
        return found

    @staticmethod
    def _surroundings() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith(("MUHGPT_", "KUBERNETES_"))}

    async def run(self, container: Document, **more: str) -> str:
        """Runs a container that ends by itself; gives its log. Fails unless it ends with 0."""
        command, environment = self.invocation(container)
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), START)
        assert process.returncode == 0, f"{self.workload}, {container['name']}: {process.returncode}\n{out.decode()}"
        return out.decode()

    async def start(self) -> None:
        """Init containers, then the container; returns when it is ready."""
        for each in self.workload.pod.get("initContainers", []):
            await self.run(each)
        container = self.workload.containers[0]
        self._process = self._spawn(container)
        await self._ready(container["readinessProbe"])

    async def stop(self) -> None:
        """SIGTERM, and the end within the grace period. Fails unless it ends with 0."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.to_thread(process.wait, self.grace)
        except subprocess.TimeoutExpired:
            self._process = process
            self.kill()
            raise AssertionError(
                f"{self.workload} did not end within {self.grace:.0f} s\n{self.last_words()}"
            ) from None
        assert code == 0, f"{self.workload} ended with {code}\n{self.last_words()}"

    def kill(self) -> None:
        """Ends it, whatever state it is in."""
        if self._process is None:
            return
        if self._engine is not None and self._process.poll() is None:
            self._engine.kill(self._name)
        self._process.kill()
        self._process.wait()

    def last_words(self) -> str:
        """The end of its log."""
        return self._log.read_text()[-3000:] if self._log.exists() else "(no log)"

    def _spawn(self, container: Document) -> subprocess.Popen[bytes]:
        tied = (sys.executable, "-m", "muhgpt_cli.local.child", str(os.getpid()))  # ends with us, however we end
        command, environment = self.invocation(container)
        program = str(shutil.which(command[0]))
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*tied, program, *command[1:]],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def _ready(self, probe: Document) -> None:
        deadline = asyncio.get_running_loop().time() + START
        while not await self._answers(probe):
            assert self._process is not None
            assert self._process.poll() is None, f"{self.workload} ended\n{self.last_words()}"
            assert asyncio.get_running_loop().time() < deadline, f"{self.workload} is not ready\n{self.last_words()}"
            await asyncio.sleep(BETWEEN)

    async def _answers(self, probe: Document) -> bool:
        """Asks as the kubelet does."""
        if "grpc" in probe:
            request = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
            async with grpc.aio.insecure_channel(f"{self.address}:{probe['grpc']['port']}") as channel:
                try:
                    answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=ASK)
                except grpc.aio.AioRpcError:
                    return False
                return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
        url = f"http://{self.address}:{self.workload.ports[probe['httpGet']['port']]}{probe['httpGet']['path']}"
        async with httpx.AsyncClient(timeout=ASK, trust_env=False) as client:
            try:
                return bool((await client.get(url)).status_code < 400)
            except httpx.HTTPError:
                return False

    # Files

    def _local(self, container: Document, value: str) -> str:
        """A path below a mount becomes one in our folder."""
        for mount in container.get("volumeMounts", []):
            if value == mount["mountPath"] or value.startswith(mount["mountPath"] + "/"):
                return str(self._folder) + value
        return value

    def _write_volumes(self) -> None:
        (self._folder / "tmp").mkdir(parents=True, exist_ok=True)
        volumes = {volume["name"]: volume for volume in self.workload.pod.get("volumes", [])}
        for container in self.workload.all_containers:
            for mount in container.get("volumeMounts", []):
                place = Path(str(self._folder) + mount["mountPath"])
                place.mkdir(parents=True, exist_ok=True)
                for name, content in self._content(volumes.get(mount["name"], {})).items():
                    (place / name).write_bytes(content)

    def _content(self, volume: Document) -> dict[str, bytes]:
        if "secret" in volume:
            return self._secrets[volume["secret"]["secretName"]]
        if "configMap" in volume:
            data = self._manifests.get("ConfigMap", volume["configMap"]["name"])["data"]
            return {name: text.encode() for name, text in data.items()}
        return {}
