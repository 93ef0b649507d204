"""What is kept on disk, and who may read it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from muhgpt_cli.errors import CliError
from muhgpt_cli.local.data_dir import LOG_BYTES_KEPT, DataDir


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_random_and_for_their_owner_alone(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path / "data")
    data_dir.prepare()
    assert mode(data_dir.path) == 0o700
    assert mode(data_dir.operator_token) == mode(data_dir.edge_token) == 0o600
    assert len(data_dir.operator_token.read_text().strip()) >= 40
    assert data_dir.operator_token.read_text() != data_dir.edge_token.read_text()


def test_a_second_start_keeps_the_secrets(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.prepare()
    token = data_dir.operator_token.read_text()
    data_dir.prepare()
    assert data_dir.operator_token.read_text() == token


def test_a_directory_in_use_is_refused_with_who_uses_it(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.write_run({"pid": 4711, "base_url": "http://127.0.0.1:8000/v1"})
    with (
        data_dir.locked(),
        pytest.raises(CliError, match=r"process 4711"),
        DataDir(tmp_path).locked(),
    ):
        pass


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with DataDir(tmp_path).locked():
            pass


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CliError, match=r"cannot write to the data directory .*file"):
        DataDir(tmp_path / "file" / "data").prepare()


def test_a_large_log_is_set_aside_at_start(tmp_path: Path) -> None:
    data_dir = DataDir(tmp_path)
    data_dir.prepare()
    with data_dir.log("auth").open("wb") as log:
        log.truncate(LOG_BYTES_KEPT + 1)
    with open(data_dir.open_log("auth"), "wb") as log:
        log.write(b"new\n")
    assert data_dir.log("auth").read_text() == "new\n"
    assert (tmp_path / "logs" / "auth.log.1").stat().st_size == LOG_BYTES_KEPT + 1
