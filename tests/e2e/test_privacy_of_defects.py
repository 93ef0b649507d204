"""G11 where our own code fails: a platform with defects (defects/sitecustomize.py) and a PostgreSQL with a password."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from tests.canary_words import Canaries, Output
from tests.e2e.outputs import DEBUG, METRICS, SERVICES
from tests.e2e.privacy_requests import Body, Case, Change, Word, picture_with_text
from tests.e2e.privacy_world import World, core_files_wanted
from tests.worlds.processes import in_a_thread, run_muhgpt, running, until

PLANTED = "what was planted"
pytestmark = [pytest.mark.timeout(300), pytest.mark.long]
DEFECTS = str(Path(__file__).with_name("defects"))
MODELS = """
models:
  muh-chat: {{engine: llama, file: default, projector: {projector}, context_length: 2048, abilities: [tools, json],
             price: {{input: 1000000, output: 3000000}}}}
  break-quota: {{engine: upstream, base_url: "http://127.0.0.1:1/v1", model: any, context_length: 2048,
                abilities: [tools], price: {{input: 1000000, output: 3000000}}}}
"""


def _saying(command: str, **fields: Any) -> Change:
    def change(body: Body, word: Word) -> Body:
        return {**body, "messages": [{"role": "user", "content": f"{command} {word('prompt')}"}], **fields}

    return change


def _showing(command: str) -> Change:
    def change(body: Body, word: Word) -> Body:
        url = picture_with_text(f"{command} {word('image text')}")
        return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}

    return change


CASES = [
    Case("no defect", 200),
    Case("a defect of the edge", 500, _saying("break-edge")),
    Case("a defect of the edge, streamed", 500, _saying("break-edge", stream=True)),
    Case("a defect of inference", 500, _saying("break-inference")),
    Case("a defect of a decoder", 400, _showing("break-decoder"), code="invalid_image"),
    Case("a defect of quota", 503, _saying("", model="break-quota")),
]
OUTAGE = [Case("no database", 503), Case("no database for a new key", 503, whose="first")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, projector: Path, postgres_server: str) -> Iterator[World]:
    """After all defects and an outage of the database."""
    folder, canaries = tmp_path_factory.mktemp("defects"), Canaries()
    (folder / "models.yaml").write_text(MODELS.format(projector=projector))
    database = f"privacy_{secrets.token_hex(6)}"
    url = make_url(postgres_server).set(database=database)
    # The server from the wheel takes any password; one of another server has its own.
    url = url.set(
        password=canaries.secret("a real password", url.password) if url.password else canaries.word("password")
    )
    in_a_thread(_execute(postgres_server, f'CREATE DATABASE "{database}"'))
    env = {f"MUHGPT_{name}_DATABASE_URL": url.render_as_string(hide_password=False) for name in ("AUTH", "QUOTA")}
    env |= {f"MUHGPT_{name}_DATABASE_SCHEMA": name.lower() for name in ("AUTH", "QUOTA")}
    env |= {"TEST_PRIVACY_PLANTED": canaries.word(PLANTED), "TEST_PRIVACY_TEXT": canaries.word("an exception's text")}
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, [DEFECTS, os.environ.get("PYTHONPATH")]))}
    options = ("--models", str(folder / "models.yaml"), "--workers", "2")
    with (
        core_files_wanted(),
        running(folder / "data", *options, env={**env, **METRICS, **DEBUG}, cwd=folder) as platform,
    ):
        world = World(platform, canaries, folder)
        world.introduce()
        for case in CASES:
            world.send(case)
        _command(world, env)
        world.outputs += in_a_thread(_rows(postgres_server, database))
        in_a_thread(_execute(postgres_server, f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false', _end(database)))
        for case in OUTAGE:
            world.send(case)
        in_a_thread(_execute(postgres_server, f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true'))
        until(world.works, 30, "the database is back")
        world.finish()
    yield world
    in_a_thread(_execute(postgres_server, f'DROP DATABASE "{database}" WITH (FORCE)'))


def _command(world: World, env: dict[str, str]) -> None:
    """A defect of auth that an operator's command meets, and one of the command itself."""
    name = f"break-auth {world.canaries.word('name of a key')}"
    there, nowhere = str(world.platform.data_dir), str(world.folder / "break-cli")
    for arguments in (
        ["keys", "create", "--account", "you@example.com", "--name", name, "--data-dir", there],
        ["keys", "list", "--data-dir", nowhere],
    ):
        answer = run_muhgpt(*arguments, env=env)
        assert answer.returncode == 1, answer.stderr
        world.outputs.append(Output(f"muhgpt {arguments[1]}", (answer.stdout + answer.stderr).encode()))
    assert "a defect of muhgpt:" in answer.stderr


def _end(database: str) -> str:
    return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _rows(server: str, database: str) -> list[Output]:
    """Every row of every table of auth and quota, as text."""
    url = make_url(server).set(database=database).render_as_string(hide_password=False)
    connection = await asyncpg.connect(url, timeout=10)
    try:
        tables = await connection.fetch(
            "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables"
            " WHERE table_schema IN ('auth', 'quota')"
        )
        assert len(tables) > 8
        outputs = []
        for (table,) in tables:
            rows = await connection.fetch(f"SELECT t::text FROM {table} t")
            outputs.append(Output(f"table {table}", "\n".join(row[0] for row in rows).encode()))
        return outputs
    finally:
        await connection.close()


def test_every_defect_is_met(world: World) -> None:
    assert world.wrong_statuses() == []
    logs = {output.name: output.content for output in world.outputs if output.name.startswith("logs/")}
    for service in SERVICES:
        assert logs[f"logs/{service}.log"].count(b" _fail") >= 5, service
        assert b"thread_crashed" in logs[f"logs/{service}.log"], service
        assert b"finalizer_failed" in logs[f"logs/{service}.log"], service
        assert b"task_failed" in logs[f"logs/{service}.log"], service


def test_what_is_planted_is_found_so_the_search_has_looked_everywhere(world: World) -> None:
    found = {leak.output for leak in world.canaries.leaks_in(world.outputs) if leak.what == PLANTED}
    for service in SERVICES:
        assert {f"logs/{service}.log", f"metrics of {service}", f"{service}.planted"} <= found
    assert len([name for name in found if name.startswith("command line")]) >= len(SERVICES)


def test_no_defect_brings_anything_to_light(world: World) -> None:
    leaks = [leak for leak in world.canaries.leaks_in(world.outputs) if leak.what != PLANTED]
    assert not leaks, "\n".join(map(str, leaks))
    assert world.leaks_in_answers() == []
