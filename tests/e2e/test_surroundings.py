"""`muhgpt up` where names are odd and nobody can read what it says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.worlds.processes import MUHGPT, START, STOP, run_muhgpt, running, until

ODD = "a%41b?c d#é&=+"


@pytest.mark.long
def test_a_data_directory_of_any_name_is_the_one_that_is_used(tmp_path: Path) -> None:
    data = tmp_path / ODD
    with running(data) as platform:
        key = platform.account().key
        assert platform.usage(key)["balance"] == 1_000_000
        assert platform.muhgpt("doctor")["ok"]
        assert platform.stop() == 0
    assert {"auth.db", "quota.db"} <= {path.name for path in data.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == {ODD, f"{ODD}.stderr"}
    with running(data) as platform:
        assert platform.usage(key)["balance"] == 1_000_000


@pytest.mark.parametrize(
    "shell",
    ['exec "$@" >&- 2>&-', pytest.param('exec "$@" >/dev/full 2>/dev/full', marks=pytest.mark.long)],
    ids=["closed", "full"],
)
def test_it_runs_although_nobody_can_read_it_and_leaves_no_key_behind_that_nobody_saw(
    tmp_path: Path, shell: str
) -> None:
    data = tmp_path / "data"
    command = ["sh", "-c", shell, "sh", *MUHGPT, "up", "--json", "--port", "0", "--data-dir", str(data)]
    with subprocess.Popen(command, env=os.environ) as process:
        try:

            def revoked() -> bool:
                listed = run_muhgpt("keys", "list", "--json", "--data-dir", str(data))
                return listed.returncode == 0 and [key["state"] for key in json.loads(listed.stdout)["keys"]] == [
                    "revoked"
                ]

            until(lambda: (data / "run.json").exists() or process.poll() is not None, START, "it runs")
            until(revoked, START, "the key is revoked")
            assert run_muhgpt("doctor", "--data-dir", str(data)).returncode == 0
            os.kill(json.loads((data / "run.json").read_text())["pids"]["auth"], 9)
            until(
                lambda: run_muhgpt("doctor", "--data-dir", str(data)).returncode == 0, START, "auth was started again"
            )
        finally:
            process.terminate()
            assert process.wait(STOP) == 0
