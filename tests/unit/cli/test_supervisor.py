"""Restarts, and knowing when to give up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from muhgpt_cli.local.service import ServiceFailed, ServiceProcess
from muhgpt_cli.local.supervisor import Supervisor
from servicekit.clock import SystemClock
from tests.unit.cli.programs import DIE, REFUSE, SERVE, service


def supervise(backend: ServiceProcess, edge: ServiceProcess) -> tuple[Supervisor, list[str]]:
    said: list[str] = []
    return Supervisor([backend], edge, drain_timeout=5, clock=SystemClock(), tell=said.append), said


async def test_a_service_that_dies_is_started_again(tmp_path: Path) -> None:
    backend, edge = service(tmp_path / "a", SERVE), service(tmp_path / "b", SERVE)
    supervisor, said = supervise(backend, edge)
    restarted = asyncio.Event()
    supervisor.changed = restarted.set
    await supervisor.start_backends()
    await supervisor.start_edge()
    first = backend.pid
    watching = asyncio.create_task(supervisor.watch())
    backend.kill()
    await asyncio.wait_for(restarted.wait(), 20)
    assert backend.pid != first
    assert "demo died (signal 9); starting it again" in said
    watching.cancel()
    await supervisor.stop()
    assert (backend.exit_code, edge.exit_code) == (0, 0)


async def test_three_deaths_within_thirty_seconds_are_for_good_and_its_last_words_are_told(tmp_path: Path) -> None:
    backend, edge = service(tmp_path / "a", DIE), service(tmp_path / "b", SERVE)
    supervisor, _ = supervise(backend, edge)
    await supervisor.start_backends()
    await supervisor.start_edge()
    with pytest.raises(ServiceFailed, match=r"(?s)died 3 times .*exit code 7.*about to die"):
        await asyncio.wait_for(supervisor.watch(), 30)
    await supervisor.stop()
    assert not edge.running


async def test_a_start_that_is_refused_is_not_tried_again(tmp_path: Path) -> None:
    supervisor, _ = supervise(service(tmp_path / "a", REFUSE), service(tmp_path / "b", SERVE))
    with pytest.raises(ServiceFailed, match="MUHGPT_DEMO_COLOUR is missing"):
        await supervisor.start_backends()
    await supervisor.stop()
