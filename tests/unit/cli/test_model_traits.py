"""What a model's file tells of its context and abilities."""

from __future__ import annotations

from pathlib import Path

import pytest
from gguf import GGUFWriter

from common.model_list import load_model_list
from muhgpt_cli.errors import CliError
from muhgpt_cli.model_file.traits import read_traits, sees
from services.inference.default_model import FILE as DEFAULT_FILE

HERMES = '{% if tools %}{{ \'<tool_call>{"name": …, "arguments": …}</tool_call>\' }}{% endif %}'


def model(path: Path, architecture: str = "qwen2", template: str = "", **fields: int) -> Path:
    writer = GGUFWriter(path, architecture)
    writer.add_context_length(fields.pop("context", 32768))
    if template:
        writer.add_chat_template(template)
    for name, value in fields.items():
        writer.add_uint32(f"{architecture}.{name.replace('__', '.')}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def test_the_shipped_model_is_read_as_it_is_listed() -> None:
    traits, listed = read_traits(DEFAULT_FILE), load_model_list(None).models["muh-chat"]
    assert (traits.has_template, traits.calls_tools) == (True, "tools" in listed.abilities)
    assert traits.trained_context >= listed.context_length


def test_the_memory_of_a_context_follows_from_layers_and_heads(tmp_path: Path) -> None:
    sizes = {"block_count": 36, "embedding_length": 2048, "attention__head_count": 16, "attention__head_count_kv": 2}
    traits = read_traits(model(tmp_path / "m.gguf", **sizes))
    assert traits.cache_bytes == 36 * 2 * (128 + 128) * 2
    assert read_traits(model(tmp_path / "n.gguf")).cache_bytes is None


@pytest.mark.parametrize(
    ("template", "calls"),
    [
        (HERMES, True),
        ("", False),
        ("{{ messages }}", False),
        (HERMES + "<function=name>", False),
        (HERMES + "<arg_key>", False),
        ("{% if tools %}[TOOL_CALLS]{% endif %}", False),
    ],
)
def test_tools_are_for_models_that_call_in_the_form_that_inference_reads(
    tmp_path: Path, template: str, calls: bool
) -> None:
    assert read_traits(model(tmp_path / "m.gguf", template=template)).calls_tools is calls


@pytest.mark.parametrize("architecture", ["clip", "bert", "nomic-bert"])
def test_what_answers_no_chats_is_refused(tmp_path: Path, architecture: str) -> None:
    with pytest.raises(CliError, match="no model that answers chats"):
        read_traits(model(tmp_path / "m.gguf", architecture))


def test_a_projector_for_pictures_is_told_from_other_files(tmp_path: Path, projector: Path) -> None:
    assert sees(projector) is True
    writer = GGUFWriter(tmp_path / "ears.gguf", "clip")
    writer.add_bool("clip.has_audio_encoder", True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert sees(tmp_path / "ears.gguf") is False
    with pytest.raises(CliError, match="is no projector"):
        sees(DEFAULT_FILE)
