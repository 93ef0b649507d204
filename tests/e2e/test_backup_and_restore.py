"""docs/operations.md, followed word for word: a backup under load, a fresh server, a restore, and books that balance.

The commands are taken from the page: each block behind `<!-- tested: NAME -->` is run as it stands, with bash, and with
the variables that the page names in the environment.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import openai
import pytest

from tests.worlds.parts.postgres import Postgres
from tests.worlds.processes import Account, Platform, running, until

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BLOCKS = dict(re.findall(r"<!-- tested: ([\w ]+) -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL))
COMMAND = 180.0  # seconds
CREDITS = 1_000_000


@dataclass
class Site:
    """One operator's surroundings: the folder with the platform's data, the variables that the page names."""

    folder: Path
    postgres: Postgres
    variables: dict[str, str] = field(default_factory=dict)

    def at(self, postgres: Postgres) -> Site:
        """The same, on another server."""
        return Site(self.folder, postgres, self.variables)

    @property
    def databases(self) -> dict[str, str]:
        return {f"MUHGPT_{name.upper()}_DATABASE_URL": self.postgres.url(name) for name in ("auth", "quota")}

    def follow(self, block: str) -> str:
        """Runs a block of the page; gives what it printed. Every command in it must succeed."""
        path = f"{self.postgres.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        told = {
            "PATH": path,
            "BACKUPS": str(self.folder / "backups"),
            "LOGS": str(self.folder / ".muhgpt" / "logs"),
            "SERVER_URL": self.postgres.url("postgres"),
            **self.databases,
            **self.variables,
        }
        answer = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", BLOCKS[block]],
            cwd=self.folder,
            env=os.environ | told,
            capture_output=True,
            text=True,
            timeout=COMMAND,
        )
        assert answer.returncode == 0, f"{block}:\n{answer.stdout}\n{answer.stderr}"
        return answer.stdout

    def running(self) -> AbstractContextManager[Platform]:
        """The platform on this server."""
        return running(self.folder / ".muhgpt", env=self.databases)


class Load:
    """Requests without pause, one account a thread. `done` are the answers that came whole."""

    def __init__(self, platform: Platform, accounts: list[Account]) -> None:
        self.done = dict.fromkeys((account.account_id for account in accounts), 0)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(platform, each)) for each in accounts]

    def _ask(self, platform: Platform, account: Account) -> None:
        with platform.openai(account.key) as client:
            while not self._stop.is_set():
                message = {"role": "user", "content": "Hello!"}
                client.chat.completions.create(model="muh-chat", messages=[message], max_tokens=6)  # type: ignore[call-overload]
                self.done[account.account_id] += 1

    def least(self) -> int:
        return min(self.done.values())

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    postgres = Postgres()
    await postgres.start()
    for name in ("auth", "quota"):
        await postgres.create(name)
    yield Site(tmp_path, postgres)
    postgres.remove()


@pytest.fixture
async def fresh_server() -> AsyncIterator[Postgres]:
    postgres = Postgres()
    yield postgres
    postgres.remove()


def works(platform: Platform, key: str) -> bool:
    with platform.openai(key) as client:
        try:
            client.models.list()
        except openai.AuthenticationError:
            return False
    return True


def grant(platform: Platform, account: Account, name: str) -> int:
    credits = platform.muhgpt("credits", "grant", "--account", account.email, "5000", "--id", name)
    return int(credits["balance"])


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_dump_taken_under_load_restores_into_a_fresh_server_and_the_books_balance(
    site: Site, fresh_server: Postgres
) -> None:
    with site.running() as platform:
        accounts = [platform.account(credits=CREDITS, per_minute=100_000) for _ in range(3)]
        revoked = platform.account()
        platform.muhgpt("keys", "revoke", platform.key(revoked).key.key_id)
        grant(platform, revoked, "before")
        with Load(platform, accounts) as load:
            until(lambda: load.least() >= 5, 60, "load")
            certain = dict(load.done)
            backup = site.follow("back up").splitlines()[-1]
            seen = load.least()
            until(lambda: load.least() >= seen + 5, 60, "load after the backup")
        platform.muhgpt("keys", "revoke", revoked.key_id)
        grant(platform, revoked, "after")
        platform.stop()
    site.postgres.remove()

    site.variables["BACKUP"] = backup
    await fresh_server.start()
    restored = site.at(fresh_server)
    restored.follow("restore")
    with restored.running() as platform:
        assert platform.first_key is None, "the accounts are there"
        assert works(platform, revoked.key), "the page says that revoked keys live again"
        restored.follow("revoke again")
        assert not works(platform, revoked.key)
        assert grant(platform, revoked, "before") == CREDITS + 5000
        assert grant(platform, revoked, "after") == CREDITS + 10_000
        assert "balance" in restored.follow("check")
        for account in accounts:
            usage = platform.usage(account.key)
            assert usage["totals"]["requests"] >= certain[account.account_id]
            assert usage["totals"]["requests"] < load.done[account.account_id]
            assert usage["balance"] == CREDITS - usage["totals"]["credits"]
        with platform.openai(accounts[0].key) as client:
            message = {"role": "user", "content": "Hello!"}
            assert client.chat.completions.create(model="muh-chat", messages=[message], max_tokens=3).usage  # type: ignore[call-overload]
        books = until(lambda: _settled(platform), 30, "the holds of the backup end")
        assert books["held"] == 0
        assert "All is well." in restored.follow("check")


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_base_backup_taken_under_load_starts_as_a_server_and_the_books_balance(
    site: Site, fresh_server: Postgres
) -> None:
    with site.running() as platform:
        accounts = [platform.account(credits=CREDITS, per_minute=100_000) for _ in range(2)]
        (site.folder / "backups").mkdir()
        with Load(platform, accounts) as load:
            until(lambda: load.least() >= 3, 60, "load")
            certain = dict(load.done)
            site.follow("base backup")
        platform.stop()
    site.postgres.remove()
    fresh_server.adopt(site.folder / "backups" / "base")
    await fresh_server.start()
    restored = site.at(fresh_server)
    with restored.running() as platform:
        assert "All is well." in restored.follow("check")
        for account in accounts:
            usage = platform.usage(account.key)
            assert usage["totals"]["requests"] >= certain[account.account_id]
            assert usage["balance"] == CREDITS - usage["totals"]["credits"]


def _settled(platform: Platform) -> dict[str, int] | None:
    books: dict[str, int] = platform.muhgpt("doctor")["books"]
    return books if books["open_holds"] == 0 else None


def test_the_page_has_the_commands_that_are_tested() -> None:
    assert set(BLOCKS) == {"back up", "base backup", "restore", "revoke again", "check"}
