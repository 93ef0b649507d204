"""The overlay `local` on this machine: its pods as processes, PostgreSQL from a wheel, Secrets from its own Job."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.deploy.rendered import NAMESPACE, OVERLAYS, Document, Workload, render
from tests.deploy.smoke.site import Load
from tests.deploy.smoke.standin.balancer import Balancer
from tests.deploy.smoke.standin.engine import Engine, find
from tests.deploy.smoke.standin.network import VIRTUAL, Names, address
from tests.deploy.smoke.standin.pod import Pod
from tests.deploy.smoke.standin.secrets_api import SecretsApi
from tests.worlds.parts.postgres import Postgres

ORDER = ("auth", "quota", "inference", "edge")
COMMAND = 60.0  # seconds for one command of the operator's
# Seconds from a replica's return until every edge has found it: they look for a lost one once a second
# (servicekit/rpc/client.py). In a cluster it is minReadySeconds that gives them time.
FOUND = 2.5
LOAD = Path(__file__).parents[1] / "load.py"


class StandIn:
    """A Site (site.py) of plain processes."""

    def __init__(self) -> None:
        self._manifests = render(OVERLAYS["local"])
        self._folder = Path(tempfile.mkdtemp(prefix="muhgpt-standin-"))
        self._replicas = {
            each.name: each.document["spec"].get("replicas", 1)
            for each in self._manifests.workloads
            if each.kind != "Job"
        }
        self._names = Names(self._manifests, self._replicas)
        self._secrets: dict[str, dict[str, bytes]] = {}
        self._engine: Engine | None = None
        self._pods: dict[str, list[Pod]] = {}
        self._postgres = Postgres(address("postgres"))
        self._port = self._manifests.get("Service", "edge")["spec"]["ports"][0]["port"]
        self._balancer = Balancer(f"{VIRTUAL}:{self._port}")

    @property
    def base_url(self) -> str:
        return f"http://{VIRTUAL}:{self._port}/v1"

    async def start(self) -> None:
        await self._bootstrap()
        await self._postgres.start()
        await self._make_databases()
        images = [self._workload(service).containers[0]["image"] for service in ORDER]
        self._engine, how = find(images)
        print(f"smoke: {how}; pods are {'containers' if self._engine else 'processes'}", flush=True)  # noqa: T201
        for service in ORDER:
            pods = [self._pod(service, number) for number in range(1, self._replicas[service] + 1)]
            self._pods[service] = pods
            await asyncio.gather(*(pod.start() for pod in pods))
        await self._balancer.start()
        self._balancer.endpoints = [self._endpoint(pod) for pod in self._pods["edge"]]

    async def stop(self) -> None:
        await self._balancer.stop()
        for pod in (pod for pods in self._pods.values() for pod in pods):
            pod.kill()
        self._postgres.remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def muhgpt(self, *arguments: str) -> Any:
        container, environment = self._operator()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "muhgpt_cli.main", *arguments, "--json"),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, errors = await asyncio.wait_for(process.communicate(), COMMAND)
        assert out, f"muhgpt {' '.join(arguments)}, in {container['name']}: {errors.decode()}"
        return json.loads(out)

    async def load(self, keys: list[str]) -> Load:
        _, environment = self._operator()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LOAD.read_text()),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            limit=2**26,
        )
        assert process.stdin is not None
        base_url = environment["MUHGPT_CLI_BASE_URL"]
        process.stdin.write(json.dumps({"base_url": base_url, "keys": keys}).encode() + b"\n")
        load = Load(process)
        await load.streaming()
        return load

    async def restart(self, service: str) -> None:
        for pod in self._pods[service]:
            if service == "edge":
                self._balancer.endpoints.remove(self._endpoint(pod))
            await pod.stop()
            await pod.start()
            if service == "edge":
                self._balancer.endpoints.append(self._endpoint(pod))
            await asyncio.sleep(FOUND)

    def logs(self) -> str:
        """The ends of all logs, for when something went wrong."""
        return "\n".join(
            f"--- {pod.workload.name} at {pod.address}\n{pod.last_words()}"
            for pods in self._pods.values()
            for pod in pods
        )

    # How it begins

    async def _bootstrap(self) -> None:
        """Runs the Job against an API that has the rights of its Role, twice: the second time changes nothing."""
        job = self._workload("bootstrap")
        rules = self._manifests.get("Role", "bootstrap")["rules"]
        with SecretsApi(self._folder / "serviceaccount", NAMESPACE, rules) as api:
            pod = self._pod("bootstrap", 1)
            await pod.run(job.containers[0], **api.variables)
            made = api.data()
            await pod.run(job.containers[0], **api.variables)
            assert api.data() == made, "the second run of the Job changed a Secret"
        self._secrets |= made

    async def _make_databases(self) -> None:
        """The script that PostgreSQL's image runs at its first start, with the variables of the manifest."""
        pod = Workload(self._manifests.get("StatefulSet", "postgres"), self._workload("postgres").template)
        values = self._manifests.environment(pod.containers[0])
        variables = {
            name: value if isinstance(value, str) else self._secrets[value["name"]][value["key"]].decode()
            for name, value in values.items()
        }
        config = next(each for each in pod.pod["volumes"] if each["name"] == "init")["configMap"]["name"]
        script = self._manifests.get("ConfigMap", config)["data"]["databases.sh"]
        path = f"{self._postgres.programs}:/usr/bin:/bin"
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", script),
            env=variables | {"PATH": path, "PGHOST": str(self._postgres.socket)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(process.communicate(), COMMAND)
        assert process.returncode == 0, out.decode()

    # Parts

    def _workload(self, name: str) -> Workload:
        return self._manifests.workload(name)

    def _pod(self, name: str, replica: int) -> Pod:
        return Pod(
            self._manifests,
            self._workload(name),
            replica,
            names=self._names,
            secrets=self._secrets,
            folder=self._folder,
            engine=self._engine if name in ORDER else None,  # the operator's commands and the Job run as processes
        )

    def _endpoint(self, pod: Pod) -> str:
        return f"{pod.address}:{self._port}"

    def _operator(self) -> tuple[Document, dict[str, str]]:
        if "operator" not in self._pods:
            self._pods["operator"] = [self._pod("operator", 1)]
        container = self._workload("operator").containers[0]
        return container, self._pods["operator"][0].environment(container)
