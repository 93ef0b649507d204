"""The whole platform with everything switched on that could say too much, and all that it says."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import make_url

from tests.canaries import breakage
from tests.canaries.marks import Marks
from tests.otlp import Collector, collector
from tests.upstreams import Asked, Upstream, end, status, stream, text, usage
from tests.worlds.parts.service import free_port
from tests.worlds.processes import Platform, running

SERVICES = ("auth", "quota", "inference", "edge")
WORKERS = 2  # of the edge
LIST = """
models:
  muh-chat:
    engine: llama
    file: default
    projector: {projector}
    context_length: 2048
    abilities: [tools, json]
    price: {{input: 1000000, output: 3000000}}
  muh-upstream:
    context_length: 4096
    abilities: [tools, json, vision]
    price: {{input: 1000000, output: 3000000}}
    targets:
      - engine: upstream
        base_url: {url}/v1
        model: theirs
        key_env: CANARY_UPSTREAM_KEY
  muh-blind:
    engine: llama
    file: default
    context_length: 2048
    price: {{input: 1000000, output: 3000000}}
"""


@dataclass
class World:
    """A running platform, what was planted in it, and every answer that its clients had."""

    platform: Platform
    marks: Marks
    collecting: Collector
    metrics: dict[str, str]  # URLs by service
    upstream: Upstream
    site: str
    answers: dict[str, bytes] = field(default_factory=dict)  # by the mark of the client that was answered

    def said(self) -> dict[str, bytes]:
        """Logs, metrics, spans, what `muhgpt up` printed, and the arguments that other users of the machine can see."""
        data = self.platform.data_dir
        said = {path.name: path.read_bytes() for path in (data / "logs").iterdir()}
        said["up.stderr"] = (data.parent / f"{data.name}.stderr").read_bytes()
        said |= {f"metrics of {name}": page.encode() for name, page in self.scrape().items()}
        said["spans"] = b"\n".join(self.collecting.raw)
        family = psutil.Process(self.platform.process.pid).children(recursive=True)
        said["arguments"] = "\n".join(" ".join(process.cmdline()) for process in family).encode()
        return said

    def scrape(self) -> dict[str, str]:
        """Each service's page of metrics."""
        return {name: _page(url) for name, url in self.metrics.items()}

    def connected(self) -> bool:
        """Whether every edge worker has its stream to each of its peers."""
        for family in text_string_to_metric_families(_page(self.metrics["edge"])):
            if family.name == "muhgpt_edge_streams_open":
                streams = {sample.labels["peer"]: sample.value for sample in family.samples}
                return streams == dict.fromkeys(("auth", "quota", "inference"), WORKERS)
        return False

    def log_lines(self) -> Iterator[tuple[str, str]]:
        """Every line of every service's log."""
        for path in sorted((self.platform.data_dir / "logs").iterdir()):
            for line in path.read_text(errors="replace").splitlines():
                yield path.name, line

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log events of this name, of all services."""
        lines = (json.loads(line) for _, line in self.log_lines() if line.startswith("{"))
        return [line for line in lines if line["event"] == name]


def _page(url: str) -> str:
    answer = httpx.get(url, timeout=30)
    assert answer.status_code == 200
    return answer.text


async def echo(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """An upstream that repeats what it was sent, in errors and in bytes that make no sense."""
    told = json.dumps([asked.body, asked.headers])
    said = str(asked.body.get("messages", [{}])[-1].get("content", ""))
    plays = {
        "echo-400": status(400, {"error": {"message": told, "param": told, "code": told}}),
        "echo-401": status(401, {"error": {"message": told}}),
        "echo-500": status(500, {"error": {"message": told}}),
        "echo-html": status(200, f"<html>{told}</html>".encode()),
        "echo-broken": stream(f"data: {told[:-3]}\n\n".encode()),
        "echo-mid": stream(text("Hel"), {"error": {"message": told}}, done=False),
        "echo-odd": stream({"choices": told, "usage": told}, {"choices": [{"index": told, "delta": told}]}),
    }
    play = next((play for word, play in plays.items() if word in said), None)
    await (play or stream(text("Hello"), end(), usage(7, 2)))(asked, writer)


@contextmanager
def in_a_loop(play: Any) -> Iterator[Upstream]:
    """A server on a loop of its own."""
    loop, server = asyncio.new_event_loop(), Upstream(play)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.kill(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def with_password(url: str, password: str) -> str:
    """The same database for a server that trusts this machine; the password is looked at by nobody."""
    return make_url(url).set(password=password).render_as_string(hide_password=False)


@contextmanager
def world(folder: Path, projector: Path, database: str, site: str) -> Iterator[World]:
    """Starts it: two edge workers, PostgreSQL, debug logs, metrics, tracing, an upstream and a model that sees."""
    marks = Marks()
    (folder / "inject").mkdir()
    shutil.copy(breakage.__file__, folder / "inject" / "sitecustomize.py")
    ports = {name: free_port() for name in SERVICES}
    with collector() as collecting, in_a_loop(echo) as upstream:
        (folder / "models.yaml").write_text(LIST.format(projector=projector, url=upstream.url))
        env = {
            **collecting.environment,
            "OTEL_EXPORTER_OTLP_HEADERS": f"x-token={marks.plant('collector token')}",
            "PYTHONPATH": str(folder / "inject"),
            "CANARY_UPSTREAM_KEY": marks.plant("upstream key"),
            "MUHGPT_INFERENCE_IMAGES_ALLOWED": "127.0.0.1",
            "MUHGPT_INFERENCE_IMAGES_TIMEOUT": "2",
            "MUHGPT_EDGE_MAX_BODY_BYTES": "2000000",
            "MUHGPT_QUOTA_BOOKS_INTERVAL": "2",
        }
        for name, port in ports.items():
            env[f"MUHGPT_{name.upper()}_LOG_LEVEL"] = "debug"
            env[f"MUHGPT_{name.upper()}_METRICS_LISTEN"] = f"127.0.0.1:{port}"
        for name in ("auth", "quota"):
            env[f"MUHGPT_{name.upper()}_DATABASE_URL"] = with_password(
                database, marks.plant(f"{name} database password")
            )
            env[f"MUHGPT_{name.upper()}_DATABASE_SCHEMA"] = name
        options = ("--workers", str(WORKERS), "--models", str(folder / "models.yaml"))
        with running(folder / "data", *options, env=env) as platform:
            for name in ("edge", "operator"):
                for token in platform.data_dir.glob(f"**/*{name}*token*"):
                    marks.add(f"{name} token", token.read_text().strip())
            assert platform.first_key is not None
            marks.add("first key", platform.first_key)
            pages = {name: f"http://127.0.0.1:{port}/metrics" for name, port in ports.items()}
            yield World(platform, marks, collecting, pages, upstream, site)
