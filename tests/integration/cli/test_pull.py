"""`muhgpt models pull` against a hub on this machine: choosing, fetching, failing, and what it leaves behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from common.model_list import DEFAULT_FILE, LlamaTarget, load_model_list
from muhgpt_cli.model_file.traits import read_traits
from services.inference.default_model import FILE as SHIPPED_FILE
from tests.hub import Hub, running_hub
from tests.worlds.processes import until

MODEL = SHIPPED_FILE.read_bytes()
ORG = "acme/Rocket-3B-GGUF"
FILE = "Rocket-3B-Q4_K_M.gguf"
TRAINED = read_traits(SHIPPED_FILE).trained_context


@dataclass
class Desk:
    """A folder to work in, and a hub."""

    hub: Hub
    folder: Path

    def pull(self, *arguments: str, code: int = 0, **environment: str) -> Any:
        """The document of a pull that ends with 0, the error of another."""
        answer = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=90, env=self.environment(**environment)
        )
        assert answer.returncode == code, answer.stderr
        if code == 0:
            return json.loads(answer.stdout)
        assert answer.stdout == ""
        return answer.stderr

    def command(self, *arguments: str) -> list[str]:
        data_dir = ("--data-dir", str(self.folder / "data"))
        return [sys.executable, "-m", "muhgpt_cli.main", "models", "pull", *arguments, "--json", "-q", *data_dir]

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return {**kept, "HF_ENDPOINT": self.hub.url, "HF_HOME": str(self.folder / "hf"), **more}

    @property
    def list(self) -> Path:
        return self.folder / "data" / "models.yaml"

    @property
    def place(self) -> Path:
        return self.folder / "data" / "models" / ORG / FILE

    def parts(self) -> list[Path]:
        return list((self.folder / "data").rglob("*.part"))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with running_hub() as hub:
        hub.add(ORG, FILE, MODEL)
        yield Desk(hub, tmp_path)


def target(desk: Desk, name: str) -> LlamaTarget:
    found = load_model_list(desk.list).models[name].targets[0]
    assert isinstance(found, LlamaTarget)
    return found


def test_a_pull_puts_the_file_behind_the_name_and_its_aliases_and_a_second_fetches_nothing(desk: Desk) -> None:
    told = desk.pull(ORG, "--alias", "muh-chat")
    assert desk.place.read_bytes() == MODEL
    assert (told["fetched_bytes"], told["list_changed"]) == (len(MODEL), True)
    entry = load_model_list(desk.list).models["muh-chat"]
    assert (target(desk, "muh-chat").file, entry.aliases) == (
        desk.place,
        ("gpt-3.5-turbo", "gpt-4o-mini", "gpt-4o"),
    )
    before, inode = desk.list.read_bytes(), desk.place.stat().st_ino
    again = desk.pull(ORG, "--alias", "muh-chat")
    assert (again["fetched_bytes"], again["list_changed"], len(desk.hub.downloads)) == (0, False, 1)
    assert (desk.list.read_bytes(), desk.place.stat().st_ino) == (before, inode)
    data = desk.folder / "data"
    assert [path for path in (data, *data.rglob("*")) if path.stat().st_mode & 0o077] == []


def test_without_an_alias_the_shipped_model_stays_and_the_file_gives_the_name(desk: Desk) -> None:
    assert desk.pull(ORG)["model"] == "Rocket-3B-Q4_K_M"
    models = load_model_list(desk.list)
    assert target(desk, "muh-chat").file == DEFAULT_FILE
    shipped = load_model_list(None).models["muh-chat"]
    assert models.models["muh-chat"] == shipped
    told = models.models["Rocket-3B-Q4_K_M"]
    assert (told.context_length, told.abilities, told.price) == (min(TRAINED, 8192), {"tools", "json"}, shipped.price)


def test_what_the_operator_wrote_survives_a_second_pull(desk: Desk) -> None:
    desk.pull(ORG, "--alias", "muh-chat", "--context", "1024", "--input-price", "7")
    text = desk.list.read_text().replace("output: 3000000", "output: 11") + "# the end\n"
    desk.list.write_text(text)
    told = desk.pull(ORG, "--alias", "muh-chat")
    assert (told["context_length"], told["price"]) == (1024, {"input": 7, "output": 11})
    assert desk.list.read_text() == text


def test_a_broken_connection_is_taken_up_where_it_broke(desk: Desk) -> None:
    desk.hub.cut_after(1_000_000, times=2)
    told = desk.pull(ORG)
    assert desk.place.read_bytes() == MODEL
    starts = [start for _, start in desk.hub.downloads]
    assert starts == [0, 1_000_000, 2_000_000]
    assert told["fetched_bytes"] == len(MODEL)


def _heed_sigint() -> None:
    """A shell starts what it puts into the background with SIGINT ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_pull_that_was_ended_goes_on_with_the_same_command(desk: Desk) -> None:
    desk.hub.hold = threading.Event()
    desk.hub.cut_after(1_500_000)
    command = desk.command(ORG)
    with subprocess.Popen(
        command, env=desk.environment(), stderr=subprocess.PIPE, text=True, preexec_fn=_heed_sigint
    ) as process:
        assert desk.hub.held.wait(30)
        until(lambda: any(part.stat().st_size >= 1_000_000 for part in desk.parts()), 20, "bytes reach the disk")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    desk.hub.hold.set()
    assert process.returncode == 1
    assert "goes on" in said
    kept = desk.parts()[0].stat().st_size
    assert not desk.place.exists()
    assert not desk.list.exists()
    told = desk.pull(ORG)
    assert desk.hub.downloads[-1] == (FILE, kept)
    assert told["fetched_bytes"] == len(MODEL) - kept
    assert desk.place.read_bytes() == MODEL


def test_a_hub_that_sends_no_ranges_is_asked_for_the_whole_again(desk: Desk) -> None:
    desk.hub.sends_ranges = False
    desk.hub.cut_after(1_000_000)
    told = desk.pull(ORG)
    assert desk.place.read_bytes() == MODEL
    assert told["fetched_bytes"] == len(MODEL) + 1_000_000


def test_a_wrong_checksum_is_said_and_nothing_good_is_lost(desk: Desk) -> None:
    desk.pull(ORG, "--alias", "muh-chat")
    listed = desk.list.read_bytes()
    desk.hub.add(ORG, FILE, MODEL + b"a newer one")
    desk.hub.damage = True
    said = desk.pull(ORG, "--alias", "muh-chat", code=1)
    assert "checksum" in said
    assert (desk.place.read_bytes(), desk.list.read_bytes(), desk.parts()) == (MODEL, listed, [])
    desk.hub.damage = False
    desk.pull(ORG, "--alias", "muh-chat")
    assert desk.place.read_bytes() == MODEL + b"a newer one"


def test_a_file_that_was_damaged_on_the_disk_is_fetched_again(desk: Desk) -> None:
    desk.pull(ORG)
    desk.place.write_bytes(MODEL[:-1] + b"?")
    desk.pull(ORG)
    assert desk.place.read_bytes() == MODEL


@pytest.mark.parametrize(("begun", "goes_on_from"), [(MODEL, 1_000_000), (MODEL + b"older", 0)])
def test_the_beginning_of_another_version_is_not_gone_on_with(desk: Desk, begun: bytes, goes_on_from: int) -> None:
    part = desk.place.with_name(f".{FILE}.{hashlib.sha256(begun).hexdigest()[:16]}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(begun[:1_000_000])
    desk.pull(ORG)
    assert desk.place.read_bytes() == MODEL
    assert desk.hub.downloads == [(FILE, goes_on_from)]


def test_a_disk_without_room_is_told_before_anything_is_fetched(desk: Desk) -> None:
    desk.hub.claimed_size = 10**16
    said = desk.pull(ORG, code=1)
    assert "free in" in said
    assert desk.hub.downloads == []


def test_a_disk_that_fills_up_is_told_and_what_came_is_kept(desk: Desk) -> None:
    limited = ["sh", "-c", 'ulimit -f 2000 && exec "$@"', "sh", *desk.command(ORG)]  # blocks of 512 bytes
    answer = subprocess.run(limited, capture_output=True, text=True, timeout=60, env=desk.environment())
    assert answer.returncode == 1
    assert "goes on from there" in answer.stderr
    kept = desk.parts()[0].stat().st_size
    assert 0 < kept <= 2000 * 512
    desk.pull(ORG)
    assert desk.hub.downloads[-1] == (FILE, kept)
    assert desk.place.read_bytes() == MODEL


def test_a_small_file_that_lies_in_git_itself_is_proved_too(desk: Desk) -> None:
    desk.hub.add(ORG, FILE, MODEL, lfs=False)
    desk.hub.damage = True
    assert "checksum" in desk.pull(ORG, code=1)
    desk.hub.damage = False
    desk.pull(ORG)
    assert desk.place.read_bytes() == MODEL


def test_of_several_quantizations_the_usual_one_is_taken_and_any_can_be_named(desk: Desk) -> None:
    for tag in ("Q2_K", "Q8_0", "F16"):
        desk.hub.add(ORG, f"Rocket-3B-{tag}.gguf", MODEL)
    desk.hub.add(ORG, "imatrix.gguf", b"no model")
    assert desk.pull(ORG)["source"] == f"{ORG}:{FILE}"
    for asked in ("q8_0", "Rocket-3B-Q8_0.gguf", "Rocket-3B-Q8_0"):
        assert desk.pull(f"{ORG}:{asked}")["source"] == f"{ORG}:Rocket-3B-Q8_0.gguf"
    said = desk.pull(f"{ORG}:Q5_K_M", code=1)
    assert "Q5_K_M" in said
    assert "Rocket-3B-F16.gguf" in said
    shown = desk.pull(ORG, "--list")["models"]
    assert [model["file"] for model in shown] == [f"Rocket-3B-{tag}.gguf" for tag in ("F16", "Q2_K", "Q4_K_M", "Q8_0")]
    assert shown[0] == {"file": "Rocket-3B-F16.gguf", "bytes": len(MODEL), "parts": 1, "projector": None}


def test_a_projector_comes_with_its_model_and_gives_it_vision(desk: Desk, projector: Path) -> None:
    for tag in ("F32", "F16", "BF16"):
        desk.hub.add(ORG, f"mmproj-{tag}.gguf", projector.read_bytes())
    told = desk.pull(ORG, "--alias", "eyes")
    assert told["projector"].endswith("mmproj-F16.gguf")
    assert "vision" in told["abilities"]
    without = desk.pull(ORG, "--alias", "eyes", "--no-projector")
    assert (without["projector"], "vision" in without["abilities"]) == (None, False)


@pytest.mark.parametrize(
    ("status", "code", "message", "said"),
    [
        (401, "GatedRepo", "", "accept its conditions"),
        (403, "GatedRepo", "Access to model is restricted", "accept its conditions"),
        (403, "", "Forbidden by your organisation", "Forbidden by your organisation"),
        (404, "RepoNotFound", "", "there is no repository"),
        (404, "RevisionNotFound", "", "revision 'main'"),
        (418, "", "", "HTTP 418"),
        (503, "", "", "HTTP 503: it is busy or broken; try again"),
        (429, "", "", "HTTP 429: it is busy or broken; try again"),
    ],
)
def test_every_refusal_says_what_to_do(desk: Desk, status: int, code: str, message: str, said: str) -> None:
    desk.hub.refuse(status, code=code, message=message)
    error = desk.pull(ORG, code=1)
    assert said in error
    assert error.startswith("error: ")
    assert not desk.list.exists()


def test_a_token_is_shown_to_the_hub_alone_and_a_wrong_one_is_called_so(desk: Desk) -> None:
    desk.hub.token = "hf_right"
    assert "HF_TOKEN" in desk.pull(ORG, code=1)
    error = desk.pull(ORG, code=1, HF_TOKEN="hf_wrong")
    assert "does not take the token" in error
    assert "hf_wrong" not in error
    for token in ("hf_wr\nong", "hf_wr ong", "hf_wröng"):
        error = desk.pull(ORG, code=1, HF_TOKEN=token)
        assert "HF_TOKEN" in error
        assert token not in error
    desk.pull(ORG, HF_TOKEN="hf_right")
    assert desk.hub.tokens_at_store == [""]
    (desk.folder / "hf").mkdir()
    (desk.folder / "hf" / "token").write_text("hf_right\n")
    assert desk.pull(ORG)["fetched_bytes"] == 0


def test_without_a_hub_the_error_names_the_setting(desk: Desk) -> None:
    for endpoint in ("http://127.0.0.1:1", "no url"):
        assert "HF_ENDPOINT" in desk.pull(ORG, code=1, HF_ENDPOINT=endpoint)
    assert "HF_HUB_OFFLINE" in desk.pull(ORG, code=1, HF_HUB_OFFLINE="1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rocket"], "ORG/NAME"),
        (["acme/none"], "no repository acme/none"),
        ([ORG, "--alias", "no name"], "is not a name"),
        ([ORG, "--alias", "gpt-4o"], "is an alias of muh-chat"),
        ([ORG, "--context", str(TRAINED + 1)], f"{TRAINED:,}"),
        ([ORG, "--revision", "v9"], "v9"),
        ([ORG, "--models", str(Path(load_model_list.__code__.co_filename).parents[1] / "models.yaml")], "package"),
    ],
)
def test_what_cannot_be_is_refused(desk: Desk, arguments: list[str], said: str) -> None:
    assert said in desk.pull(*arguments, code=1)


@pytest.mark.parametrize("path", ["../../evil.gguf", "/etc/evil.gguf", "a/../../../evil.gguf", "a\\evil.gguf"])
def test_a_hubs_file_never_leads_out_of_the_folder(desk: Desk, path: str) -> None:
    desk.hub.files[ORG] = {path: (MODEL, True)}
    assert "impossible name" in desk.pull(ORG, code=1)
    assert desk.hub.downloads == []
    assert list(desk.folder.rglob("*evil*")) == []


def test_a_file_that_is_no_model_stays_out_of_the_list(desk: Desk, projector: Path) -> None:
    for content in (b"GGUF but then nothing", b"<html>", projector.read_bytes()):
        desk.hub.add(ORG, FILE, content)
        desk.pull(ORG, code=1)
        assert not desk.list.exists()


def test_a_repository_without_gguf_files_is_told_from_one_that_is_not_there(desk: Desk) -> None:
    desk.hub.add("acme/Rocket-3B", "model.safetensors", b"weights")
    assert "acme/Rocket-3B-GGUF" in desk.pull("acme/Rocket-3B", code=1)


def test_a_list_of_ones_own_is_changed_where_it_is_named(desk: Desk) -> None:
    own = desk.folder / "own" / "list.yaml"
    own.parent.mkdir()
    own.write_text(
        "# ours\nmodels:\n  # the big one\n  big: {engine: llama, file: default, context_length: 512, price: "
        "{input: 1, output: 2}} # keep\n\n# names of names\naliases:\n  newest: big\n"
    )
    before = own.read_text()
    desk.pull(ORG, "--models", str(own), "--alias", "rocket")
    after = own.read_text().splitlines()
    assert [line for line in before.splitlines() if line not in after] == []
    models = load_model_list(own)
    assert set(models.models) == {"big", "rocket"}
    assert models.names()["newest"] == "big"
    assert (own.parent / "models" / ORG / FILE).read_bytes() == MODEL
    assert not desk.list.exists()


def test_two_pulls_of_one_file_do_not_meet(desk: Desk) -> None:
    desk.hub.hold = threading.Event()
    desk.hub.cut_after(1_000_000)
    with subprocess.Popen(desk.command(ORG), env=desk.environment(), stdout=subprocess.PIPE) as first:
        assert desk.hub.held.wait(30)
        assert "another" in desk.pull(ORG, code=1)
        desk.hub.hold.set()
        assert first.wait(60) == 0
    assert desk.place.read_bytes() == MODEL
