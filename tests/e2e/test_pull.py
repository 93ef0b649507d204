"""The two lines that put a stronger model behind muh-chat, and what follows them: a new list under a running system."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader, GGUFWriter
from openai import OpenAI

from common.model_list import load_model_list
from services.inference.default_model import FILE as DEFAULT_FILE
from tests.hub import Hub, running_hub
from tests.worlds.processes import MUHGPT, Platform, run_muhgpt, running, until

ORG = "acme/Rocket-3B-GGUF"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 12}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        hub.add(ORG, "Rocket-3B-Q4_K_M.gguf", DEFAULT_FILE.read_bytes())
        yield hub


def pull(hub: Hub, data_dir: Path, *arguments: str) -> dict[str, Any]:
    answer = run_muhgpt(
        "models", "pull", *arguments, "--json", "-q", "--data-dir", str(data_dir), env={"HF_ENDPOINT": hub.url}
    )
    assert answer.returncode == 0, answer.stderr
    document: dict[str, Any] = json.loads(answer.stdout)
    return document


def worker_files(platform: Platform) -> set[str]:
    """The model files that the worker of llama.cpp has mapped."""
    return {entry.path for entry in platform.llama_worker().memory_maps() if entry.path.endswith(".gguf")}


@pytest.mark.long
def test_two_lines_put_another_model_behind_muh_chat(hub: Hub, tmp_path: Path) -> None:
    pulled = pull(hub, tmp_path / "data", ORG, "--alias", "muh-chat", "--output-price", "7000000")
    with running(tmp_path / "data") as platform:
        assert worker_files(platform) == {pulled["file"]}
        assert platform.first_key is not None
        with platform.openai(platform.first_key) as client:
            assert {model.id for model in client.models.list()} == {
                "muh-chat",
                "gpt-3.5-turbo",
                "gpt-4o-mini",
                "gpt-4o",
            }
            answer = client.chat.completions.create(model="muh-chat", **HELLO)
        assert answer.choices[0].message.content
        assert answer.usage is not None
        spent = platform.usage(platform.first_key)["totals"]["credits"]
        assert spent == answer.usage.prompt_tokens + 7 * answer.usage.completion_tokens


@pytest.mark.long
def test_a_model_with_a_projector_sees_as_soon_as_it_is_pulled(hub: Hub, tmp_path: Path, projector: Path) -> None:
    hub.add(ORG, "mmproj-F16.gguf", projector.read_bytes())
    pull(hub, tmp_path / "data", ORG, "--alias", "eyes")
    with running(tmp_path / "data") as platform:
        told = {model["id"]: model["abilities"] for model in platform.muhgpt("models")["models"]}
        assert told["eyes"] == ["tools", "vision", "json"]
        assert set(told["muh-chat"]) == load_model_list(None).models["muh-chat"].abilities


def split(folder: Path) -> list[Path]:
    """The shipped model in parts, as large ones are published."""
    reader = GGUFReader(DEFAULT_FILE)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(folder / "m.gguf", architecture, split_max_tensors=len(reader.tensors) // 2 + 1)
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            kind, sub = field.types[0], field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("m-*.gguf"))


@pytest.mark.long
def test_a_model_in_several_files_is_fetched_whole_and_answers(hub: Hub, tmp_path: Path) -> None:
    parts = split(tmp_path)
    assert [part.name for part in parts] == ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"]
    for part in parts:
        hub.add("acme/split", f"Q8_0/{part.name}", part.read_bytes())
    pulled = pull(hub, tmp_path / "data", "acme/split", "--alias", "muh-chat")
    assert pulled["fetched_bytes"] == sum(part.stat().st_size for part in parts)
    with running(tmp_path / "data") as platform, platform.openai(str(platform.first_key)) as client:
        assert client.chat.completions.create(model="muh-chat", **HELLO).choices[0].message.content


def names(client: OpenAI) -> set[str]:
    return {model.id for model in client.models.list()}


def test_a_running_system_takes_a_new_model_on_sighup_and_refuses_a_list_with_a_mistake(
    hub: Hub, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    first = pull(hub, data, ORG, "--alias", "one")
    with running(data) as platform, platform.openai(str(platform.first_key)) as client:
        assert pull(hub, data, ORG, "--alias", "two")["list"] == first["list"]
        shown = run_muhgpt(
            "models", "pull", ORG, "--alias", "two", "--data-dir", str(data), env={"HF_ENDPOINT": hub.url}
        ).stdout
        assert shown.rstrip().endswith(f"kill -HUP {platform.process.pid}")
        platform.process.send_signal(signal.SIGHUP)
        until(lambda: "two" in names(client), 30, "the new model is told")
        assert client.chat.completions.create(model="two", **HELLO).model == "two"
        said = data.parent / "data.stderr"
        good = Path(first["list"]).read_text()
        Path(first["list"]).write_text(good.replace("price:", "prize:", 1))
        platform.process.send_signal(signal.SIGHUP)
        until(lambda: "unknown field" in said.read_text(), 10, "the mistake is told")
        assert client.chat.completions.create(model="two", **HELLO).model == "two"
        assert platform.process.poll() is None


@pytest.mark.long
def test_a_list_that_was_made_after_the_start_is_told_to_need_a_new_start(hub: Hub, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as platform:
        shown = run_muhgpt(
            "models", "pull", ORG, "--alias", "muh-chat", "--data-dir", str(data), env={"HF_ENDPOINT": hub.url}
        )
        assert "uses another list; stop it, then: muhgpt up --data-dir" in shown.stdout
        platform.process.send_signal(signal.SIGHUP)
        until(lambda: "was made after the start" in (tmp_path / "data.stderr").read_text(), 10, "it is said")
        assert platform.muhgpt("doctor")["ok"] is True


@pytest.mark.long
def test_a_system_ends_with_its_terminal_but_not_at_a_sighup_from_elsewhere(tmp_path: Path) -> None:
    master, slave = os.openpty()
    command = [*MUHGPT, "up", "--port", "0", "--data-dir", str(tmp_path / "data")]

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=take_terminal
    ) as process:
        os.close(slave)
        shown = _shown(master, "Ctrl-C stops it", b"")
        process.send_signal(signal.SIGHUP)
        _shown(master, "reading the model list again", shown)
        assert process.poll() is None
        os.close(master)  # the window is closed
        assert process.wait(60) == 0
    assert not (tmp_path / "data" / "run.json").exists()


def _shown(master: int, wanted: str, shown: bytes) -> bytes:
    while wanted not in shown.decode(errors="replace"):
        shown += os.read(master, 65536)
    return shown
