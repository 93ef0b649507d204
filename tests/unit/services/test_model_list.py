"""The model list: what it gives, and that what is wrong is named with file, line and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from servicekit.errors import StartupError
from services.model_list import DEFAULT_FILE, Price, load_model_list

GOOD = """\
models:
  small:
    engine: llama
    file: models/small.gguf
    context_length: 2048
    abilities: [tools]
    price: {input: 1, output: 2}
    aliases: [other]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    return path


def test_the_shipped_list_serves_the_references_aliases_at_1_and_3_credits_a_token() -> None:
    models = load_model_list(None)
    for alias in ("muh-chat", "gpt-3.5-turbo", "gpt-4o-mini", "gpt-4o"):
        entry = models.resolve(alias)
        assert entry is not None
        assert (entry.id, entry.file, entry.price) == ("muh-chat", DEFAULT_FILE, Price(1_000_000, 3_000_000))


def test_a_file_is_relative_to_the_list(tmp_path: Path) -> None:
    models = load_model_list(written(tmp_path, GOOD))
    entry = models.resolve("other")
    assert entry is not None
    assert entry.file == tmp_path / "models" / "small.gguf"
    assert models.resolve("unknown") is None
    assert list(models.names()) == ["small", "other"]


def test_a_projector_gives_its_model_vision(tmp_path: Path) -> None:
    for abilities, all_of_them in (("[tools]", {"tools", "vision"}), ("[vision]", {"vision"}), ("[]", {"vision"})):
        text = GOOD.replace("[tools]", f"{abilities}\n    projector: models/eyes.gguf")
        entry = load_model_list(written(tmp_path, text)).resolve("small")
        assert entry is not None
        assert entry.projector == tmp_path / "models" / "eyes.gguf"
        assert entry.abilities == all_of_them


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("engine: llama", "engine: lama", r"models.yaml:3: models.small.engine: unknown engine 'lama'; known: llama"),
        ("context_length: 2048", "context_length: lots", r"models.yaml:5: models.small.context_length: .*whole number"),
        ("context_length: 2048", "context_length: 1", r"models.yaml:5: models.small.context_length: must be 64 to"),
        ("    context_length: 2048\n", "", r"models.small.context_length: is missing"),
        ("[tools]", "[magic]", r"models.yaml:6: models.small.abilities: unknown magic"),
        ("[tools]", "[tools, vision]", r"models.yaml:6: models.small.abilities: vision needs a file in `projector:`"),
        ("[tools]", "[tools]\n    projector: []", r"models.yaml:7: models.small.projector: must be a string"),
        ("output: 2", "outptu: 2", r"models.yaml:7: models.small.price.outptu: unknown field"),
        ("output: 2", "output: -2", r"models.yaml:7: models.small.price.output: must be a whole number"),
        ("[other]", "[small]", r"models.small: the name 'small' belongs to small already"),
        ("[other]", "['a b']", r"models.yaml:8: models.small.aliases: 'a b' is not a name"),
        (
            "    engine: llama\n",
            "    engine: llama\n    engine: llama\n",
            r"models.yaml:4: models.small.engine: stands twice",
        ),
        ("models:", "modles:", r"models.yaml:1: the file.modles: unknown field; known: models"),
        ("{input: 1, output: 2}", "{input: 1", r"models.yaml:\d+: not YAML"),
        (GOOD, "", r"the file is empty"),
        (GOOD, "models: {}", r"it names no model"),
        (GOOD, "- a\n- b\n", r"models.yaml:1: the file: must be a mapping"),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_field(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(StartupError, match=problem):
        load_model_list(written(tmp_path, GOOD.replace(old, new)))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_bytes(b"models:\n  caf\xe9:\n")
    with pytest.raises(StartupError, match=r"models.yaml: byte 13 is not UTF-8"):
        load_model_list(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot read the model list .*nothing.yaml"):
        load_model_list(tmp_path / "nothing.yaml")
