"""Finding the running system."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from muhgpt_cli.errors import CliError
from muhgpt_cli.system import find
from tests.certificates import Authority, write_directory

TOKEN = "a-token-of-enough-characters"


def running(directory: Path, pid: int) -> Path:
    run = {"pid": pid, "base_url": "http://127.0.0.1:8000/v1", "addresses": {"auth": "127.0.0.1:7001"}}
    (directory / "run.json").write_text(json.dumps(run))
    (directory / "operator.token").write_text(TOKEN + "\n")
    return directory


def test_a_data_directory_tells_addresses_and_token(tmp_path: Path) -> None:
    system = find(running(tmp_path, os.getpid()))
    assert system.address("auth") == "127.0.0.1:7001"
    assert system.base_url == "http://127.0.0.1:8000/v1"
    assert system.operator_token == TOKEN


def test_a_data_directory_that_was_named_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUHGPT_CLI_AUTH_ADDRESS", "10.0.0.1:7001")
    assert find(running(tmp_path, os.getpid())).address("auth") == "127.0.0.1:7001"


def test_the_environment_goes_before_the_default_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    monkeypatch.setenv("MUHGPT_CLI_AUTH_ADDRESS", "10.0.0.1:7001")
    monkeypatch.setenv("MUHGPT_CLI_OPERATOR_TOKEN_FILE", str(token_file))
    monkeypatch.setenv("MUHGPT_CLI_PLAINTEXT", "true")
    system = find(None)
    assert system.address("auth") == "10.0.0.1:7001"
    assert system.operator_token == TOKEN
    with pytest.raises(CliError, match="set MUHGPT_CLI_QUOTA_ADDRESS"):
        system.address("quota")
    with pytest.raises(CliError, match="set MUHGPT_CLI_BASE_URL"):
        _ = system.base_url


def test_plaintext_beyond_loopback_must_be_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUHGPT_CLI_AUTH_ADDRESS", "10.0.0.1:7001")
    with pytest.raises(CliError, match=r"plaintext: .*MUHGPT_CLI_TLS_DIRECTORY.*MUHGPT_CLI_PLAINTEXT=true"):
        find(None)


def test_the_operators_certificate_needs_no_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority()
    monkeypatch.setenv("MUHGPT_CLI_AUTH_ADDRESS", "10.0.0.1:7001")
    monkeypatch.setenv("MUHGPT_CLI_TLS_DIRECTORY", str(write_directory(tmp_path, "operator", authority)))
    system = find(None)
    assert system.operator_token is None
    assert system.tls is not None
    write_directory(tmp_path, "edge", authority)
    with pytest.raises(CliError, match=r"does not hold a certificate for operator\.muhgpt\.internal"):
        find(None)


def test_an_unknown_variable_is_named_with_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUHGPT_CLI_AUTH_ADRESS", "x")
    with pytest.raises(CliError, match="MUHGPT_CLI_AUTH_ADRESS; did you mean MUHGPT_CLI_AUTH_ADDRESS"):
        find(None)


def test_a_directory_where_nothing_runs_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"no system is running in .*muhgpt up"):
        find(tmp_path)


def test_a_system_whose_process_is_gone_is_not_taken_for_running(tmp_path: Path) -> None:
    gone = os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(gone, 0)
    with pytest.raises(CliError, match=f"process {gone} is gone"):
        find(running(tmp_path, gone))


def test_a_damaged_run_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(CliError, match=r"run\.json is damaged"):
        find(tmp_path)
