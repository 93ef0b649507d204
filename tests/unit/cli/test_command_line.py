"""The command line as typed: help, wrong usage, errors."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import typer

from muhgpt_cli.commands.keys import parse_expiry
from muhgpt_cli.output import printable

COMMANDS = [
    ["up"],
    ["accounts", "create"],
    ["accounts", "list"],
    ["accounts", "set"],
    ["accounts", "suspend"],
    ["accounts", "resume"],
    ["keys", "create"],
    ["keys", "list"],
    ["keys", "revoke"],
    ["credits", "grant"],
    ["credits", "refund"],
    ["usage"],
    ["models"],
    ["models", "pull"],
    ["chat"],
    ["doctor"],
]


def muhgpt(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "muhgpt_cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_every_command_shows_examples_and_takes_json_and_a_data_directory() -> None:
    from typer.testing import CliRunner

    from muhgpt_cli.main import app

    for command in COMMANDS:
        help_text = re.sub(r"\x1b\[[0-9;]*m", "", CliRunner().invoke(app, [*command, "--help"]).stdout)
        assert "Examples" in help_text, command
        assert f"muhgpt {' '.join(command)}" in help_text, command
        assert "--json" in help_text, command
        assert "--data-dir" in help_text, command


def test_an_error_is_one_line_on_stderr_and_exit_code_1(tmp_path: Path) -> None:
    answer = muhgpt("accounts", "list", "--json", "--data-dir", str(tmp_path))
    assert (answer.returncode, answer.stdout) == (1, "")
    assert re.fullmatch(r"error: no system is running in .*\n", answer.stderr)


def test_wrong_usage_is_exit_code_2() -> None:
    answer = muhgpt("credits", "grant", "--account", "a@b.example", "-5")
    assert (answer.returncode, answer.stdout) == (2, "")


@pytest.mark.parametrize(("option", "value"), [("--id", ""), ("--id", "x" * 65), ("--reason", "x" * 201)])
def test_a_name_or_reason_of_the_wrong_length_moves_no_credits(option: str, value: str) -> None:
    answer = muhgpt("credits", "grant", "--account", "a@b.example", "5", option, value)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "characters" in answer.stderr


def test_bytes_that_are_no_text_are_an_error_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUHGPT_CLI_AUTH_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("MUHGPT_CLI_OPERATOR_TOKEN", "a-token-of-enough-characters")
    answer = muhgpt("keys", "list", "--account", "\udcff@b.example")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert re.fullmatch(r"error: .*UTF-8.*\n", answer.stderr)


@pytest.mark.parametrize("key", ["mghp_ü", "mghp_a\rb", "mghp_a\nb"])
def test_a_key_that_no_header_carries_is_an_error_in_one_line_without_the_key(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("MUHGPT_CLI_BASE_URL", "http://127.0.0.1:1/v1")
    answer = muhgpt("chat", "Hello!", "--key", key)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == "error: the API key holds characters that no key has; copy it again\n"


def test_chat_without_a_key_says_where_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUHGPT_API_KEY", raising=False)
    monkeypatch.setenv("MUHGPT_CLI_BASE_URL", "http://127.0.0.1:1/v1")
    answer = muhgpt("chat", "Hello!")
    assert answer.returncode == 1
    assert "MUHGPT_API_KEY" in answer.stderr


def test_nothing_at_the_base_url_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUHGPT_CLI_BASE_URL", "http://127.0.0.1:1/v1")
    answer = muhgpt("chat", "Hello!", "--key", "mghp_whatever")
    assert answer.returncode == 1
    assert answer.stderr == "error: nothing answers at http://127.0.0.1:1/v1; is the system running?\n"


def test_an_expiry_is_a_day_in_utc_or_an_instant_with_its_zone() -> None:
    assert parse_expiry("2027-01-31") == datetime(2027, 1, 31, tzinfo=UTC)
    assert parse_expiry("2027-01-31T12:00:00+02:00") == datetime(2027, 1, 31, 10, tzinfo=UTC)
    for wrong in ("tomorrow", "2027-13-01", "2027-01-31T12:00:00"):
        with pytest.raises(typer.BadParameter):
            parse_expiry(wrong)


def test_a_models_text_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b[2Jb\nc\td\x07é") == "a[2Jb\nc\tdé"
