"""Changing an operator's model list: what was asked changes, every other byte stays."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from common.model_list import LlamaTarget, load_model_list, parse_model_list
from muhgpt_cli.errors import CliError
from muhgpt_cli.model_file.list_file import ListFile, PulledModel
from muhgpt_cli.model_file.list_text import scalar

COMMENTED = """\
# Our models. Ask Ada before you change prices.
models:

  # the workhorse, on the machine in the cellar
  muh-chat:
    engine: llama   # in the process itself
    file: "old model.gguf"    # fetched in May
    projector: eyes.gguf
    context_length: 4096
    abilities:            # see docs/models.md
      - tools
      - json
    price: {input: 1000000, output: 3000000} # two years unchanged
    aliases:
      - gpt-4o
      # the last one

# names of names
aliases:
  newest: gpt-4o
"""
FLOW = (
    "models: {muh-chat: {engine: llama, file: a.gguf, projector: b.gguf, context_length: 512, "
    "price: {input: 1, output: 2}}}"
)
TARGETS = """\
models:
  muh-chat:
    context_length: 512
    price: {input: 1, output: 2}
    targets: [{engine: llama, file: a.gguf}]
"""
ANCHORS = """\
models:
  one: &one
    engine: llama
    file: a.gguf
    context_length: 512
    price: {input: 1, output: 2}
  muh-chat: *one
"""
UPSTREAM = """\
models:
  muh-chat:
    engine: upstream
    base_url: http://vllm:8000/v1
    model: qwen
    context_length: 512
    price: {input: 1, output: 2}
"""


def pulled(folder: Path, name: str, **options: object) -> PulledModel:
    fields = {"projector": None, "trained_context": 32768, "abilities": ("json",), **options}
    return PulledModel(name=name, file=folder / "models" / "new model.gguf", **fields)  # type: ignore[arg-type]


def changes(before: str, after: str) -> list[str]:
    """Lines that went, then lines that came."""
    found = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    lines = [line for line in found if not line.startswith(("+++", "---"))]
    return [line for sign in "-+" for line in lines if line[0] == sign]


def test_a_new_model_comes_first_and_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(COMMENTED)
    entry, changed = ListFile(path).put(pulled(tmp_path, "rocket"), replace=False)
    assert changed
    assert changes(COMMENTED, path.read_text()) == [
        "+  rocket:",
        "+    engine: llama",
        '+    file: "models/new model.gguf"',
        "+    context_length: 8192",
        "+    abilities: [json]",
        "+    price: {input: 1000000, output: 3000000}",
    ]
    assert load_model_list(path).models["rocket"] == entry


def test_a_model_gets_another_file_and_what_goes_with_it(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(COMMENTED)
    ListFile(path).put(pulled(tmp_path, "muh-chat", output_price=5), replace=True)
    assert changes(COMMENTED, path.read_text()) == [
        '-    file: "old model.gguf"    # fetched in May',
        "-    projector: eyes.gguf",
        "-    context_length: 4096",
        "-      - tools",
        "-      - json",
        "-    price: {input: 1000000, output: 3000000} # two years unchanged",
        '+    file: "models/new model.gguf"    # fetched in May',
        "+    context_length: 8192",
        "+      [json]",
        "+    price: {input: 1000000, output: 5} # two years unchanged",
    ]
    assert load_model_list(path).names()["newest"] == "muh-chat"


@pytest.mark.parametrize(
    "text", [COMMENTED, COMMENTED.replace("\n", "\r\n"), FLOW, COMMENTED.rstrip(), "\ufeff" + FLOW]
)
def test_every_way_of_writing_a_list_is_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(text.encode())
    eyes = tmp_path / "models" / "mmproj.gguf"
    for model, replace in ((pulled(tmp_path, "rocket", projector=eyes), False), (pulled(tmp_path, "muh-chat"), True)):
        entry, _ = ListFile(path).put(model, replace=replace)
        target = entry.targets[0]
        assert isinstance(target, LlamaTarget)
        assert (target.file, target.projector) == (model.file, model.projector)
    written = path.read_bytes()
    assert written.count(b"\r\n") == (written.count(b"\n") if "\r" in text else 0)
    assert set(load_model_list(path).models) == {"rocket", "muh-chat"}


def test_a_pull_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(COMMENTED)
    model = pulled(tmp_path, "muh-chat")
    ListFile(path).put(model, replace=True)
    before = path.stat()
    assert ListFile(path).put(model, replace=True)[1] is False
    assert ListFile(path).put(model, replace=False)[1] is False
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    ("text", "name", "replace", "said"),
    [
        (COMMENTED, "muh-chat", False, "models.yaml:5: muh-chat has another file"),
        (COMMENTED, "gpt-4o", True, "use --alias muh-chat"),
        (COMMENTED, "newest", True, "use --alias muh-chat"),
        (UPSTREAM, "muh-chat", True, "answered by other servers"),
        (TARGETS, "muh-chat", True, "by hand"),
        (ANCHORS, "muh-chat", True, "by hand"),
        ("models: [", "x", True, "mistake"),
        ("models:\n  a: {engine: llama}\n", "x", True, "models.a.context_length"),
    ],
)
def test_what_cannot_be_changed_is_refused_and_left_as_it_is(
    tmp_path: Path, text: str, name: str, replace: bool, said: str
) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    with pytest.raises(CliError) as caught:
        ListFile(path).put(pulled(tmp_path, name), replace=replace)
    assert said in str(caught.value)
    assert path.read_text() == text
    assert [file.name for file in tmp_path.iterdir()] == ["models.yaml"]


def test_a_link_stays_a_link_and_the_files_mode_stays(tmp_path: Path) -> None:
    real = tmp_path / "real" / "models.yaml"
    real.parent.mkdir()
    real.write_text(COMMENTED)
    real.chmod(0o640)
    link = tmp_path / "models.yaml"
    link.symlink_to(real)
    ListFile(link).put(pulled(tmp_path, "rocket"), replace=False)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "rocket" in load_model_list(real).models


@pytest.mark.parametrize(
    "text", ["plain-1.gguf", "a b", "yes", "1e5", "007", "-x", "#", "a: b", "ü", '"', "null", "[x]", "~", "1:30", "."]
)
def test_any_text_is_read_back_as_it_was(tmp_path: Path, text: str) -> None:
    line = f"models:\n  m: {{engine: llama, file: {scalar(text)}, context_length: 64, price: {{input: 1, output: 1}}}}"
    target = parse_model_list(line, tmp_path / "models.yaml").models["m"].targets[0]
    assert isinstance(target, LlamaTarget)
    assert target.file == (tmp_path / text).resolve()
