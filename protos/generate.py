"""Generates gen/ from protos/, or with --check says whether gen/ is what protos/ gives.

Generated code imports `muhgpt.…`, so gen/ is a source root beside the repository's own.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GEN = ROOT / "gen"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"


def generate(target: Path) -> None:
    """Writes the modules of every proto below target. Raises SystemExit when protoc refuses one."""
    files = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    outputs = [f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    arguments = ["protoc", f"-I{PROTOS}", f"-I{WELL_KNOWN}", *outputs, *files]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed: see above")
    _drop_empty_servicers(target)
    for folder in sorted({path.parent for path in target.rglob("*.py")} | {target / "muhgpt"}):
        for package in (folder, *folder.parents):
            if package == target:
                break
            (package / "__init__.py").touch()


def _drop_empty_servicers(target: Path) -> None:
    """protoc writes an empty _grpc module for a proto without services."""
    for path in target.rglob("*_pb2_grpc.py"):
        if "class " not in path.read_text():
            path.unlink()


def differences(left: Path, right: Path) -> list[str]:
    """Files that are missing on one side or differ, as paths relative to both."""
    one, other = _contents(left), _contents(right)
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*.py*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        generate(fresh)
        if "--check" in sys.argv[1:]:
            if found := differences(fresh, GEN):
                raise SystemExit("gen/ is not what protos/ gives (run `make proto`): " + ", ".join(found))
            return
        shutil.rmtree(GEN, ignore_errors=True)
        shutil.copytree(fresh, GEN)


if __name__ == "__main__":
    main()
