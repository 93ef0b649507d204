"""A client's packages, installed from its lock file into .conformance/ when they are not there yet.

CONFORMANCE_CACHE names another folder, so that fresh clones share what was installed once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KEPT = Path(os.environ.get("CONFORMANCE_CACHE") or ROOT / ".conformance")
INSTALL = 600.0  # seconds
LEAST_NODE = 20

_in_this_process = threading.Lock()


class NotHere(Exception):
    """What a client needs is not on this machine; the text says what, and is the reason of its being skipped."""


class Unusable(Exception):
    """A client's packages could not be installed; the text has the installer's last words."""


@contextmanager
def _installing() -> Iterator[None]:
    """One installation at a time: two clients may share a folder, and two runs a cache."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with _in_this_process, (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def python_of(lock: Path) -> str:
    """The interpreter of an environment with exactly the packages of a lock file. Raises Unusable."""
    place, made = _place(lock)
    python = place / "bin" / "python"
    with _installing():
        if not made.exists():
            shutil.rmtree(place, ignore_errors=True)
            _run([sys.executable, "-m", "venv", str(place)])
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", str(lock)])
            made.touch()
    return str(python)


def node_project() -> Path:
    """A folder with the Node checks and their packages. Raises NotHere without node, npm or its registry; Unusable."""
    _require_node()
    source = HERE / "node"
    place, made = _place(source / "package-lock.json")
    with _installing():
        if not made.exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            for name in ("package.json", "package-lock.json"):
                shutil.copy(source / name, place / name)
            _install_node_packages(place)
            made.touch()
        for check in source.glob("*.js"):  # node looks for packages beside the file that imports them
            shutil.copy(check, place / check.name)
    return place


def _install_node_packages(folder: Path) -> None:
    try:
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    except Unusable:
        try:
            _run(["npm", "view", "openai", "version", "--fetch-retries=0"], folder)
        except Unusable:
            raise NotHere("the npm registry cannot be reached") from None
        raise


def _require_node() -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NotHere(f"{program} is not on the PATH")
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=30).stdout.strip()
    if int(said.lstrip("v").partition(".")[0] or 0) < LEAST_NODE:
        raise NotHere(f"node {said} is older than {LEAST_NODE}")


def _place(lock: Path) -> tuple[Path, Path]:
    """The folder of a lock file's packages, and the mark that they are complete: another lock, another folder."""
    digest = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    place = KEPT / f"{lock.parent.name}-{lock.stem}-{digest}"
    return place, place / "complete"


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL)
    if done.returncode != 0:
        raise Unusable(f"{' '.join(command[:4])} …: {(done.stderr or done.stdout)[-2000:]}")
