"""What is wrong at the start is said with what, where and what to do; nothing is left running."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.worlds.processes import run_muhgpt, running

LIST = """models:
  muh-chat:
    engine: {engine}
    file: {file}
    context_length: 2048
    price: {{input: 1000000, output: 3000000}}
"""


def refused(tmp_path: Path, *options: str, env: dict[str, str] | None = None) -> str:
    """What a start that must fail says."""
    answer = run_muhgpt("up", "--port", "0", "--data-dir", str(tmp_path / "data"), *options, env=env)
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "Traceback" not in answer.stderr
    return answer.stderr


def test_an_unknown_setting_is_named_with_what_was_meant(tmp_path: Path) -> None:
    said = refused(tmp_path, env={"MUHGPT_QUOTA_DATABASE_ULR": "x"})
    assert "unknown setting MUHGPT_QUOTA_DATABASE_ULR; did you mean MUHGPT_QUOTA_DATABASE_URL?" in said


@pytest.mark.long
def test_a_value_out_of_range_is_named(tmp_path: Path) -> None:
    assert "MUHGPT_EDGE_MAX_BODY_BYTES" in refused(tmp_path, env={"MUHGPT_EDGE_MAX_BODY_BYTES": "many"})


def test_a_port_in_use_is_said_before_anything_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = refused(tmp_path, "--port", str(port))
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert not (tmp_path / "data").exists()


def test_a_model_list_with_an_unknown_engine_is_refused_with_file_and_line(tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(LIST.format(engine="lama", file="default"))
    said = refused(tmp_path, "--models", str(models))
    assert f"{models}:3: models.muh-chat.engine: unknown engine 'lama'" in said


@pytest.mark.long
def test_a_model_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert f"cannot read the model list {tmp_path}/nowhere.yaml" in refused(
        tmp_path, "--models", str(tmp_path / "nowhere.yaml")
    )


@pytest.mark.long
def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    models = tmp_path / "models.yaml"
    models.write_text(LIST.format(engine="llama", file="missing.gguf"))
    assert str(tmp_path / "missing.gguf") in refused(tmp_path, "--models", str(models))


def test_a_corrupt_model_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "corrupt.gguf").write_bytes(b"GGUF" + b"\x03\x00\x00\x00" + b"\xff" * 4096)
    models = tmp_path / "models.yaml"
    models.write_text(LIST.format(engine="llama", file="corrupt.gguf"))
    assert str(tmp_path / "corrupt.gguf") in refused(tmp_path, "--models", str(models))


@pytest.mark.parametrize("service", ["auth", pytest.param("quota", marks=pytest.mark.long)])
def test_a_database_that_cannot_be_reached_is_said_and_exit_code_2(tmp_path: Path, service: str) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-enough-characters")
    prefix = f"MUHGPT_{service.upper()}_"
    settings = {
        f"{prefix}DATABASE_URL": "postgresql://muhgpt:secret-word@127.0.0.1:1/muhgpt",
        f"{prefix}EDGE_TOKEN_FILE": str(token),
        f"{prefix}OPERATOR_TOKEN_FILE": str(token),
    }
    answer = subprocess.run(
        [sys.executable, "-m", f"services.{service}.main"],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 2
    errors = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
    assert errors
    assert "127.0.0.1" in errors[0]
    assert "secret-word" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_setting_that_is_missing_is_named(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "services.auth.main"],
        env={"PATH": "/usr/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 2
    assert "error: setting MUHGPT_AUTH_EDGE_TOKEN_FILE is missing" in answer.stderr


@pytest.mark.long
def test_books_of_a_later_version_are_refused_with_what_to_do_and_served_when_that_is_wanted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data):
        pass
    with closing(sqlite3.connect(data / "quota.db")) as books, books:
        books.execute("UPDATE alembic_version SET version_num = '9999'")
    said = refused(tmp_path)
    assert "the database's schema is 9999, which is newer than this version's" in said
    assert f"put {data}/quota.db.before-upgrade in the place of {data}/quota.db" in said
    with running(data, env={"MUHGPT_QUOTA_NEWER_SCHEMA": "serve"}) as platform:
        assert platform.muhgpt("doctor")
