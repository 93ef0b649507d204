"""What images hold: the part of requirements.lock that each needs and no more, and files that the build finds."""

from __future__ import annotations

import ast
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.checks.platform import SERVICES, targets
from tests.deploy.rendered import ROOT

FOLDER = ROOT / "deploy/images"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
TARGETS = (*SERVICES, "cli")


def locked(path: Path) -> dict[str, tuple[str, frozenset[str]]]:
    """Version with its marker, and hashes, by package."""
    found = {}
    for block in re.split(r"\n(?=\S)", path.read_text().strip()):
        line = block.splitlines()[0].rstrip("\\ ")
        name, _, rest = line.partition("==")
        found[str(canonicalize_name(name))] = rest.strip(), frozenset(re.findall(r"sha256:[0-9a-f]{64}", block))
    return found


def extras() -> tuple[list[str], dict[str, list[str]]]:
    """pyproject.toml's dependencies, and those of its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project["dependencies"], project["optional-dependencies"]


def closure(*wanted: str) -> set[str]:
    """Everything that extras bring on this machine, by the metadata of what is installed."""
    base, optional = extras()
    open_requirements = [*base, *(each for extra in wanted for each in optional[extra])]
    found: set[str] = set()
    while open_requirements:
        requirement = Requirement(open_requirements.pop())
        name = str(canonicalize_name(requirement.name))
        if name == "muhgpt":
            open_requirements += [each for inner in requirement.extras for each in optional[inner]]
            continue
        key = f"{name}[{','.join(sorted(requirement.extras))}]"
        if key in found:
            continue
        found |= {key, name}
        for each in _requires(name):
            inner = Requirement(each)
            choices = [{"extra": extra} for extra in requirement.extras] or [{"extra": ""}]
            if inner.marker is None or any(inner.marker.evaluate(choice) for choice in choices):
                open_requirements.append(each)
    return {each for each in found if "[" not in each}


def _requires(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return pytest.fail(f"{name} is not installed; run make setup")


@pytest.mark.parametrize("target", [*TARGETS, "build"])
def test_an_image_pins_what_requirements_lock_pins(target: str) -> None:
    whole, part = locked(ROOT / "requirements.lock"), locked(FOLDER / f"requirements-{target}.lock")
    for name, (rest, hashes) in part.items():
        assert name in whole
        assert _version(rest) == _version(whole[name][0]), name
        assert hashes, name
        assert hashes == whole[name][1], name


def _version(rest: str) -> str:
    return rest.partition(" ;")[0]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_all_that_its_extra_needs_and_nothing_else(target: str) -> None:
    more = re.search(r"^IMAGE_EXTRAS :=(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert more is not None
    needed, pinned = closure(target, *more[1].split()), locked(FOLDER / f"requirements-{target}.lock")
    here = {name for name, (rest, _) in pinned.items() if _applies(name, rest)}
    assert sorted(here) == sorted(needed)


def _applies(name: str, rest: str) -> bool:
    marker = Requirement(f"{name}=={rest}").marker
    return marker is None or marker.evaluate()


def imported(path: Path) -> set[str]:
    """The packages that a file imports wherever it does so, but for types only."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            node.body = []
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_has_every_package_that_its_code_imports(target: str) -> None:
    folder = ROOT / ("muhgpt_cli" if target == "cli" else f"services/{target}")
    names = {name for path in folder.rglob("*.py") for name in imported(path)}
    owners = packages_distributions()
    others = {name for name in names if name in owners} - {"muhgpt", "servicekit", "common", "services", "muhgpt_cli"}
    assert others
    pinned = locked(FOLDER / f"requirements-{target}.lock")
    missing = {name for name in others if not {str(canonicalize_name(each)) for each in owners[name]} & set(pinned)}
    assert missing == set()


def test_the_distribution_holds_every_file_of_its_packages(tmp_path: Path) -> None:
    """Data files too, such as the tokenizers' ranks: what setuptools is not told of is missing in an image only."""
    source = tmp_path / "source"
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "gen",
            "servicekit",
            "common",
            "services",
            "muhgpt_cli",
            "pyproject.toml",
            "README.md",
            "LICENSE",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    for name in listed:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(tmp_path), str(source)], check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    packaged = {name.removeprefix("gen/") for name in listed if "/" in name}
    assert sorted(packaged - held) == []


def test_there_is_a_target_for_each_image_and_each_begins_its_service() -> None:
    assert set(targets()) == set(TARGETS)
    for service in SERVICES:
        assert targets()[service] == ["python", "-m", f"services.{service}.main"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_installs_its_own_lock_with_hashes_and_runs_as_a_numbered_user(target: str) -> None:
    build, final = _stage(f"build-{target}"), _stage(target)
    install = f"--require-hashes --only-binary=:all: --requirement requirements-{target}.lock"
    assert install in build
    assert f"COPY --from=build-{target} /opt/muhgpt /opt/muhgpt" in final
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)
    assert ("libgomp1" in final) == (target == "inference")


def test_images_have_no_compiler_and_no_health_check() -> None:
    instructions = "\n".join(line for line in DOCKERFILE.splitlines() if not line.startswith("#"))
    assert not re.search(r"HEALTHCHECK|gcc|g\+\+|build-essential|cargo", instructions)
    assert re.findall(r"apt-get install .*", instructions) == [
        "apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*"
    ]


def test_what_the_build_copies_is_there_and_not_ignored() -> None:
    copied = [
        name for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    ]
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in copied:
        assert (ROOT / name).exists()
        assert any(fnmatch.fnmatch(name, pattern) for pattern in kept), name


def test_only_what_the_build_copies_gets_out_of_the_repository() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"


def test_without_an_engine_building_says_what_to_do(tmp_path: Path) -> None:
    for program in ("bash", "dirname"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    environment = {"PATH": str(tmp_path), "BASE_IMAGE": "x", "IMAGE_PREFIX": "x", "TAG": "x"}
    command = ["/usr/bin/bash", str(FOLDER / "build"), "auth"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "neither docker nor podman runs here" in done.stderr


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_each_target_is_built_with_the_engine_that_runs(tmp_path: Path, engine: str) -> None:
    for program in ("bash", "dirname", "cat"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    said = tmp_path / "said"
    (tmp_path / engine).write_text(f'#!/usr/bin/bash\necho "$@" >> {said}\n')
    os.chmod(tmp_path / engine, 0o755)
    environment = {"PATH": str(tmp_path), "BASE_IMAGE": "slim", "IMAGE_PREFIX": "r.example.com/m", "TAG": "1"}
    command = ["/usr/bin/bash", str(FOLDER / "build"), "auth", "edge"]
    subprocess.run(command, env=environment, check=True, timeout=30)
    builds = [line for line in said.read_text().splitlines() if line.startswith("build")]
    begin = "build --file deploy/images/Dockerfile --target"
    for target, line in zip(("auth", "edge"), builds, strict=True):
        assert line == f"{begin} {target} --build-arg BASE_IMAGE=slim --tag r.example.com/m/{target}:1 ."


def _stage(name: str) -> str:
    found = re.search(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert found, f"no stage {name}"
    return found[1]
