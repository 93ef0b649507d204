"""An environment with the wheel and what one of its extras asks for, and nothing else.

The packages are linked from the environment that runs the tests, which has them at the versions of requirements.lock.
So neither an index nor a minute of downloads is needed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# What deploy/images/Dockerfile builds the wheel from: a `build` folder of the checkout must not reach it.
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "gen", "servicekit", "common", "services", "muhgpt_cli")
BUILD_TIMEOUT = 120.0  # seconds


def build_wheel(folder: Path) -> Path:
    """Builds the wheel from a copy of the sources, and returns it."""
    copy = folder / "sources"
    copy.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    _pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(copy))
    (wheel,) = folder.glob("*.whl")
    return wheel


def environment(folder: Path, wheel: Path, extra: str) -> Path:
    """Makes an environment with the wheel and the packages of the extra, and returns its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=BUILD_TIMEOUT)
    programs = folder / "bin"
    _pip("--python", str(programs / "python"), "install", "--no-deps", "--no-index", str(wheel))
    (packages,) = folder.glob("lib/python*/site-packages")
    (own,) = (Distribution.at(path) for path in packages.glob("muhgpt-*.dist-info"))
    for each in closure(own, extra):
        link(each, packages)
    return programs


def closure(root: Distribution, extra: str) -> Iterator[Distribution]:
    """All distributions that one needs with an extra, itself left out."""
    waiting, seen = [(root, extra)], {(canonicalize_name(root.name), extra)}
    given = {canonicalize_name(root.name)}
    while waiting:
        one, of = waiting.pop()
        for requirement in map(Requirement, one.requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": of}):
                continue
            name = canonicalize_name(requirement.name)
            needed = root if name == canonicalize_name(root.name) else distribution(name)
            assert requirement.specifier.contains(needed.version, prereleases=True), f"{requirement}: {needed.version}"
            if name not in given:
                given.add(name)
                yield needed
            for of_needed in {"", *requirement.extras} - {each for other, each in seen if other == name}:
                seen.add((name, of_needed))
                waiting.append((needed, of_needed))


def link(package: Distribution, target: Path) -> None:
    """Links what a distribution has in its site-packages into another; its programs are left out.

    A folder that distributions share (`google`, `opentelemetry`) comes with the first of them, whole.
    """
    source = Path(str(package.locate_file("")))
    for first in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
        if not (target / first).exists():
            (target / first).symlink_to(source / first)


def _pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments],
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
