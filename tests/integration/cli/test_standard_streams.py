"""Commands whose standard output or error is closed, full, not writable, or knows ASCII only."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from muhgpt.auth.v1 import auth_pb2
from servicekit.clock import SystemClock
from tests.worlds.in_process.auth import TOKENS, Auth, running_auth

EMAIL = "ada@example.com"
ENOUGH = 60.0  # seconds for a command on a busy machine
# How a shell starts a command so that a stream takes nothing.
UNWRITABLE = {
    "closed": '"$@" {n}>&-',
    "full": '"$@" {n}>/dev/full',
    "for reading": '"$@" {n}</dev/null',
}


@dataclass
class Office:
    """A real auth, and the command line as its operator types it."""

    auth: Auth

    async def muhgpt(self, *arguments: str, shell: str = '"$@"', **more: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MUHGPT_")}
        environment = {
            **kept,
            "MUHGPT_CLI_AUTH_ADDRESS": self.auth.address,
            "MUHGPT_CLI_OPERATOR_TOKEN": TOKENS.operator,
            **more,
        }
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", shell, "sh", sys.executable, "-m", "muhgpt_cli.main", *arguments),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), ENOUGH)
        assert process.returncode is not None
        assert b"Traceback" not in err
        assert b"Exception ignored" not in err
        return process.returncode, out.decode(), err.decode()

    async def states(self) -> list[int]:
        listed = await self.auth.operator.ListKeys(auth_pb2.ListKeysRequest())
        return [key.state for key in listed.keys]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    async with running_auth(f"sqlite:///{tmp_path / 'auth.db'}", SystemClock()) as auth:
        await auth.account(EMAIL)
        yield Office(auth)


@pytest.mark.parametrize("how", [*UNWRITABLE, "reader gone"])
@pytest.mark.parametrize("form", ["table", "json"])
async def test_a_new_key_that_cannot_be_shown_is_revoked_and_the_exit_code_says_so(
    office: Office, how: str, form: str
) -> None:
    shell = '("$@"; echo $? >&2) | true' if how == "reader gone" else UNWRITABLE[how].format(n=1)
    command = ["keys", "create", "--account", EMAIL, *(["--json"] if form == "json" else [])]
    code, out, err = await office.muhgpt(*command, shell=shell)
    assert out == ""
    assert (err.splitlines()[-1] == "1") if how == "reader gone" else (code == 1)
    assert "so it was revoked" in err
    assert "mghp_" not in err
    assert await office.states() == [auth_pb2.Key.STATE_REVOKED]


@pytest.mark.parametrize("how", UNWRITABLE)
async def test_a_standard_error_that_takes_nothing_costs_what_is_said_there_and_no_more(
    office: Office, how: str
) -> None:
    code, out, _ = await office.muhgpt(
        "keys", "create", "--account", EMAIL, "--model", "unheard-of", shell=UNWRITABLE[how].format(n=2)
    )
    assert code == 0
    assert "mghp_" in out
    code, out, _ = await office.muhgpt("keys", "revoke", "key_none", shell=UNWRITABLE[how].format(n=2))
    assert (code, out) == (1, "")
    code, out, _ = await office.muhgpt("keys", "nonsense", shell=UNWRITABLE[how].format(n=2))
    assert (code, out) == (2, "")


async def test_an_output_that_knows_ascii_only_gets_the_key_and_its_name(office: Office) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = ["keys", "create", "--account", EMAIL, "--name", "Schlüssel"]
    code, out, _ = await office.muhgpt(*command, "--json", **ascii_only)
    assert code == 0
    assert out.isascii()
    assert json.loads(out)["name"] == "Schlüssel"
    code, out, _ = await office.muhgpt("keys", "list", **ascii_only)
    assert code == 0
    assert out.isascii()
    assert "Schl" in out


@pytest.mark.parametrize("how", UNWRITABLE)
@pytest.mark.parametrize(
    "command", [["keys", "list"], ["keys", "list", "--json"], ["--help"], ["keys", "--help"], ["--version"]]
)
async def test_every_command_whose_output_is_lost_says_so_and_fails(
    office: Office, command: list[str], how: str
) -> None:
    code, _, err = await office.muhgpt(*command, shell=UNWRITABLE[how].format(n=1))
    assert code == 1
    assert "standard output cannot be written" in err


async def test_a_reader_that_has_had_enough_is_told_nothing_more(office: Office) -> None:
    code, _, err = await office.muhgpt("keys", "list", shell='("$@"; echo $? >&2) | true')
    assert code == 0  # the pipe's last command
    assert err == "1\n"


async def test_with_everything_closed_a_command_ends_as_it_should(office: Office) -> None:
    shell = '"$@" <&- >&- 2>&-'
    assert (await office.muhgpt("keys", "list", shell=shell))[0] == 1
    assert (await office.muhgpt("keys", "revoke", "key_none", shell=shell))[0] == 1
