"""A hash of the files below some paths as they are now, committed or not."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.verification.page import ROOT

DIGITS = 16


def covered(paths: Sequence[str], root: Path = ROOT) -> str:
    """The hash of names and contents; files that git ignores and documents do not count."""
    digest = hashlib.sha256()
    for name in _files(paths, root):
        file = root / name
        if file.is_file() and file.suffix != ".md":
            digest.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:DIGITS]


def commit(root: Path = ROOT) -> str:
    """The commit of the checkout, and whether it holds changes to it."""
    changed = _git(["status", "--porcelain", "--", ".", ":!docs/verification.md"], root)
    return _git(["rev-parse", "--short=8", "HEAD"], root).strip() + (" changed" if changed else "")


def _files(paths: Sequence[str], root: Path) -> list[str]:
    listed = _git(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths], root)
    return sorted({name for name in listed.split("\0") if name})


def _git(arguments: Sequence[str], root: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=60, check=True).stdout
