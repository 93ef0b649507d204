"""One child process, from start to end."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from muhgpt_cli.local.service import ServiceFailed, python
from tests.unit.cli.programs import DEAF, DIE, REFUSE, SERVE, SERVE_AT, service


def ended(pid: int) -> bool:
    """Whether the process ends within 10 s; one that nobody has waited for counts as ended."""
    try:
        psutil.wait_procs([psutil.Process(pid)], timeout=10)
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_a_service_is_started_when_it_has_written_its_address(tmp_path: Path) -> None:
    process = service(tmp_path, SERVE)
    await process.start()
    assert process.address == "127.0.0.1:1001"
    await process.stop(5)
    assert process.exit_code == 0
    assert "leaving" in process.log.read_text()


async def test_a_second_start_keeps_the_address_where_its_peers_look_for_it(tmp_path: Path) -> None:
    process = service(tmp_path, SERVE)
    await process.start()
    process.address = "127.0.0.1:2002"
    process.kill()
    await process.ended()
    await process.start()
    assert process.address == "127.0.0.1:2002"
    await process.stop(5)


async def test_what_a_service_says_when_it_cannot_start_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ServiceFailed, match="MUHGPT_DEMO_COLOUR is missing") as failed:
        await service(tmp_path, REFUSE).start()
    assert failed.value.exit_code == 2


async def test_a_service_that_never_serves_is_given_up(tmp_path: Path) -> None:
    process = service(tmp_path, "import signal; signal.pause()", start_timeout=0.3)
    with pytest.raises(ServiceFailed, match="did not serve within"):
        await process.start()
    await process.stop(5)
    assert not process.running


async def test_a_service_deaf_to_sigterm_is_killed_after_the_patience(tmp_path: Path) -> None:
    process = service(tmp_path, DEAF)
    await process.start()
    await process.stop(0.05)
    assert process.exit_code == -signal.SIGKILL


async def test_only_words_of_the_present_start_are_shown(tmp_path: Path) -> None:
    process = service(tmp_path, DIE)
    process.log.write_text("words of yesterday\n")
    await process.start()
    await process.ended()
    assert process.last_words() == ["error about to die reason=test"]


async def test_what_a_service_started_ends_with_it(tmp_path: Path) -> None:
    marker = tmp_path / "grandchild"
    program = f"""{SERVE_AT}
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
pathlib.Path({str(marker)!r}).write_text(str(child.pid))
serve()
os._exit(1)
"""
    process = service(tmp_path, program)
    await process.start()
    await process.ended()
    assert ended(int(marker.read_text()))


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="only Linux tells children of their parent's death")
def test_children_do_not_survive_a_parent_killed_with_signal_9(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, pathlib, signal; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); signal.pause()"
    parent = f"""
import os, signal, subprocess, time, pathlib
command = {python("-m", "muhgpt_cli.local.child")!r} + (str(os.getpid()),) + {python("-c", child)!r}
subprocess.Popen(command)
while not pathlib.Path({str(pid_file)!r}).exists() or not pathlib.Path({str(pid_file)!r}).read_text():
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run(python("-c", parent), timeout=30).returncode == -signal.SIGKILL
    assert ended(int(pid_file.read_text()))
