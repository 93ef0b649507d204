"""What a decoder can still do once a hostile file has taken it over: next to nothing."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from services.inference.images.confinement import LISTED
from services.inference.images.decoders import DecoderPool

MIB = 1024 * 1024
# A worker whose decoder is this: it tries what an attacker would, and says what came of it.
TAKEN_OVER = """
import ctypes, json, os, signal, socket, sys
from services.inference.images import worker
from services.inference.images.picture import Unusable

armed = False

def attempt(what):
    try:
        what()
    except BaseException as error:
        return type(error).__name__
    return "done"

def attack(file, side, pixels):
    if side != 7:
        return decode(file, side, pixels)
    target = file.decode()
    libc = ctypes.CDLL(None, use_errno=True)
    def call(name, *arguments):
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno())
    outcomes = {
        "socket": attempt(lambda: socket.socket()),
        "unix socket": attempt(lambda: socket.socket(socket.AF_UNIX)),
        "pair": attempt(socket.socketpair),
        "read": attempt(lambda: open("/etc/passwd").read()),
        "parent's environment": attempt(lambda: open(f"/proc/{os.getppid()}/environ").read()),
        "write": attempt(lambda: open(target, "w")),
        "native open": attempt(lambda: call("open", target.encode(), os.O_RDWR | os.O_CREAT, 0o600)),
        "list": attempt(lambda: os.listdir("/")),
        "remove": attempt(lambda: os.remove(target)),
        "fork": attempt(lambda: os.fork() or os._exit(0)),
        "execute": attempt(lambda: os.execv("/bin/true", ["true"])),
        "signal the parent": attempt(lambda: os.kill(os.getppid(), signal.SIGCONT)),
        "trace the parent": attempt(lambda: call("ptrace", 16, os.getppid(), 0, 0)),
        "pipe": attempt(os.pipe),
        "memory file": attempt(lambda: os.memfd_create("x")),
        "more memory": attempt(lambda: bytearray(1024 * 1024 * 1024)),
        "privileges": attempt(lambda: os.setuid(0) or call("setns", 0, 0)),
    }
    raise Unusable(json.dumps({"environment": dict(os.environ), "outcomes": outcomes}))

decode, worker.rewrite = worker.rewrite, attack
worker.main()
"""


@pytest.mark.skipif(platform.machine() not in LISTED, reason="the filter knows x86_64 and aarch64")
def test_a_decoder_that_was_taken_over_can_open_start_and_reach_nothing(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    task = json.dumps({"size": len(str(victim)), "side": 7, "pixels": 1}) + "\n" + str(victim)
    environment = {"MUHGPT_EDGE_TOKEN": "not to be seen", **{k: v for k, v in os.environ.items() if k == "PYTHONPATH"}}
    ran = subprocess.run(
        [sys.executable, "-c", TAKEN_OVER, str(384 * MIB)],
        input=task.encode(),
        capture_output=True,
        env=environment,
        timeout=60,
        check=False,
    )
    ready, answer = ran.stdout.splitlines()
    assert json.loads(ready) == {"confined": True}
    seen = json.loads(json.loads(answer)["error"])
    assert seen["environment"] == {}
    assert "done" not in seen["outcomes"].values(), seen["outcomes"]
    assert victim.read_text() == "kept"


async def test_decoders_are_started_with_none_of_the_services_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUHGPT_EDGE_TOKEN", "not to be seen")
    pool = DecoderPool(1)
    await pool.start()
    try:
        [decoder] = [psutil.Process(pid) for pid in pool.pids]
        status = Path(f"/proc/{decoder.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        if platform.machine() in LISTED:
            assert "Seccomp:\t2" in status
        try:
            given = decoder.environ()
            assert decoder.cwd() == "/"
            assert decoder.num_fds() <= 4
        except psutil.AccessDenied:  # not root: not even this test may look into it
            return
        assert not [name for name in given if name.startswith("MUHGPT_")]
    finally:
        await pool.close()
