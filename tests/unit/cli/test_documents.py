"""What the documents point to exists, and every dependency has its reason."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOPS = ("services", "servicekit", "common", "muhgpt_cli", "protos", "deploy", "tests")
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "tests" / "README.md"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert missing == []


def test_every_file_that_architecture_names_exists() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`([\w/]+(?:\.py|/))`", text))
    files = [f"/{path}" for top in TOPS for path in _all(top)]
    missing = [name for name in named if not any(file.endswith(f"/{name.rstrip('/')}") for file in files)]
    assert missing == []


def test_every_dependency_has_a_reason_in_architecture() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
    ]
    names = {re.split(r"[^A-Za-z0-9_-]", item)[0] for item in wanted} - {"muhgpt"}
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert {name for name in names if f"`{name}`" not in text} == set()


def test_what_the_examples_of_the_tests_page_import_exists() -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "tests" / "README.md").read_text(), re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        imports = [node for node in ast.parse(example).body if isinstance(node, ast.ImportFrom)]
        assert imports
        for each in imports:
            module = importlib.import_module(each.module or "")
            assert [name.name for name in each.names if not hasattr(module, name.name)] == []


def _all(top: str) -> list[Path]:
    return [path.relative_to(ROOT) for path in (ROOT / top).rglob("*") if "__pycache__" not in path.parts]
