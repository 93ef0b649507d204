"""The version before this one, installed by its own lock into an environment of its own below .upgrade/."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".upgrade"
VERSIONS = ROOT / "docs" / "releases.md"
ROW = re.compile(r"^\| `([0-9a-f]{7,40})` \|", re.MULTILINE)


def previous() -> str:
    """The commit of the newest version in the list that this checkout comes after. Exits when there is none."""
    here = _git("rev-parse", "HEAD")
    for commit in ROW.findall(VERSIONS.read_text()):  # the newest is at the top
        known = subprocess.run(["git", "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"], **_QUIET)
        if known.returncode:
            raise SystemExit(f"error: {commit} is not in this clone; fetch the whole history")
        ancestor = subprocess.run(["git", "merge-base", "--is-ancestor", commit, here], **_QUIET)
        if ancestor.returncode == 0 and not here.startswith(commit):
            return commit
    raise SystemExit(f"error: {VERSIONS.relative_to(ROOT)} lists no version before this one")


def python(commit: str) -> Path:
    """The interpreter of the environment that holds a version; made when it is not there, in about a minute."""
    place = KEPT / commit
    found, made = place / "bin" / "python", place / "made"
    if not made.exists():
        print(f"making the environment of {commit} in {place.relative_to(ROOT)}", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="muhgpt-upgrade-") as folder:
            source = Path(folder) / "source"
            _git("worktree", "add", "--quiet", "--detach", str(source), commit)
            try:
                _install(source, place)
            finally:
                _git("worktree", "remove", "--force", str(source))
        made.touch()
    return found


def _install(source: Path, place: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    pip = [str(place / "bin" / "pip"), "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--require-hashes", "-r", str(source / "requirements.lock")], check=True)
    # Not editable: what is installed stays when the worktree goes.
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", str(source)], check=True)


_QUIET: dict = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
