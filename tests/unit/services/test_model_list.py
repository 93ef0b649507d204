"""The model list: what it gives, and that what is wrong is named with file, line and field."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from common.model_list import (
    DEFAULT_FILE,
    DEFAULT_PROJECTOR,
    SHIPPED,
    LlamaTarget,
    ModelEntry,
    Price,
    Secret,
    Tokenizer,
    UpstreamTarget,
    load_model_list,
    with_model_file,
)
from common.model_list.schema import ENGINES, FIELDS_OF_TARGETS, SCHEMA_FILE, json_schema
from servicekit.errors import StartupError

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

COUNTED = """\
models:
  big:
    engine: upstream
    base_url: http://127.0.0.1:8000/v1
    model: big
    context_length: 2048
    price: {{input: 1, output: 2}}
    tokenizer: {tokenizer}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    return path


def test_the_schema_for_editors_is_that_of_the_classes() -> None:
    assert SCHEMA_FILE.read_text() == json_schema(), "run: python -m common.model_list"


def test_the_schema_takes_what_the_reader_takes() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(json_schema()))
    for text in (SHIPPED.read_text(), GOOD, UPSTREAM, COUNTED.format(tokenizer="o200k_base")):
        validator.validate(yaml.safe_load(text))
    for old, new in (("llama", "lama"), ("2048", "1"), ("[tools]", "[magic]"), ("output", "outptu"), ("file", "fiel")):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(yaml.safe_load(GOOD.replace(old, new)))


def test_every_engine_has_fields_of_its_own_name() -> None:
    assert list(ENGINES) == ["llama", "upstream"]
    for name, entry in ENGINES.items():
        assert FIELDS_OF_TARGETS[name] > set(entry.model_fields)


def llama_of(entry: ModelEntry) -> LlamaTarget:
    (target,) = entry.targets
    assert isinstance(target, LlamaTarget)
    return target


def test_the_shipped_list_serves_the_references_aliases_at_1_and_3_credits_a_token() -> None:
    models = load_model_list(None)
    for alias in ("muh-chat", "gpt-3.5-turbo", "gpt-4o-mini", "gpt-4o"):
        entry = models.resolve(alias)
        assert entry is not None
        assert (entry.id, entry.price) == ("muh-chat", Price(1_000_000, 3_000_000))
        assert entry.targets == (LlamaTarget("llama", DEFAULT_FILE, 2048, DEFAULT_PROJECTOR),)
        assert entry.abilities == {"tools", "json", "vision"}


def test_a_file_is_relative_to_the_list(tmp_path: Path) -> None:
    models = load_model_list(written(tmp_path, GOOD))
    entry = models.resolve("other")
    assert entry is not None
    assert llama_of(entry).file == tmp_path / "models" / "small.gguf"
    assert models.resolve("unknown") is None
    assert list(models.names()) == ["small", "other"]


def test_a_projector_gives_its_model_vision(tmp_path: Path) -> None:
    for abilities, all_of_them in (("[tools]", {"tools", "vision"}), ("[vision]", {"vision"}), ("[]", {"vision"})):
        text = GOOD.replace("[tools]", f"{abilities}\n    projector: models/eyes.gguf")
        entry = load_model_list(written(tmp_path, text)).resolve("small")
        assert entry is not None
        assert llama_of(entry).projector == tmp_path / "models" / "eyes.gguf"
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
        ("models:", "modles:", r"models.yaml:1: the file.modles: unknown field; known: aliases, models"),
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


UPSTREAM = """\
models:
  big:
    context_length: 32768
    abilities: [tools, json, vision]
    price: {input: 1, output: 2}
    aliases: [gpt-4o]
    targets:
      - engine: upstream
        base_url: http://vllm-1:8000/v1/
        model: Qwen/Qwen3-8B
        server: vllm
        weight: 3
        key_env: VLLM_KEY
        headers: {X-Team: chat}
        first_token_timeout: 12.5
      - engine: upstream
        name: provider
        base_url: https://api.example.com/v1
        model: qwen-8b
        order: 2
        key_file: key.txt
aliases:
  best: newest
  newest: gpt-4o
"""


def test_a_model_has_several_targets_with_weight_and_fallback_order(tmp_path: Path) -> None:
    entry = load_model_list(written(tmp_path, UPSTREAM)).models["big"]
    first, second = entry.targets
    assert first == UpstreamTarget(
        name="vllm-1:8000",
        base_url="http://vllm-1:8000/v1",
        model="Qwen/Qwen3-8B",
        context_length=32768,
        server="vllm",
        secret=Secret(variable="VLLM_KEY"),
        headers=(("X-Team", "chat"),),
        first_token_timeout=12.5,
        weight=3,
    )
    assert isinstance(second, UpstreamTarget)
    assert (second.name, second.order, second.secret) == ("provider", 2, Secret(file=tmp_path / "key.txt"))


def test_what_a_server_lacks_is_named_by_fields_that_can_be_missed(tmp_path: Path) -> None:
    text = UPSTREAM.replace("        weight: 3\n", "        weight: 3\n        unsupported: [n, logprobs]\n")
    first = load_model_list(written(tmp_path, text)).models["big"].targets[0]
    assert isinstance(first, UpstreamTarget)
    assert first.unsupported == {"n", "logprobs"}
    wrong = text.replace("[n, logprobs]", "[n, messages]")
    with pytest.raises(StartupError, match=r"targets\[0\]\.unsupported: unknown messages; known: .*logprobs"):
        load_model_list(written(tmp_path, wrong))


def test_one_upstream_may_stand_in_the_model_itself(tmp_path: Path) -> None:
    text = GOOD.replace("engine: llama", "engine: upstream\n    base_url: http://a/v1\n    model: m").replace(
        "    file: models/small.gguf\n", ""
    )
    (target,) = load_model_list(written(tmp_path, text)).models["small"].targets
    assert target == UpstreamTarget("a", "http://a/v1", "m", 2048)


def test_an_alias_may_name_another_alias(tmp_path: Path) -> None:
    names = load_model_list(written(tmp_path, UPSTREAM)).names()
    assert names == {"big": "big", "gpt-4o": "big", "best": "big", "newest": "big"}


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("best: newest\n  newest: gpt-4o", "a: b\n  b: a", r"models.yaml:23: aliases.a: leads in a circle: a → b → a"),
        ("newest: gpt-4o", "newest: gpt-5", r"models.yaml:24: aliases.newest: there is no model or alias 'gpt-5'"),
        ("newest: gpt-4o", "newest: newest", r"leads in a circle"),
        ("best: newest", "big: newest", r"models.yaml:23: aliases.big: the name 'big' belongs to big already"),
        ("weight: 3", "weight: 0", r"models.yaml:12: models.big.targets\[0\].weight: must be 1 to 1000, not 0"),
        ("order: 2", "order: last", r"models.yaml:20: models.big.targets\[1\].order: must be a whole number"),
        ("server: vllm", "server: ollama", r"models.yaml:11: .*server: unknown 'ollama'; known: openai, vllm"),
        (
            "server: vllm",
            "file: a.gguf",
            r"models.yaml:11: .*\[0\].file: unknown field of engine upstream; known: base",
        ),
        ("http://vllm-1:8000/v1/", "vllm-1:8000", r"models.yaml:9: .*base_url: must be an http or https URL"),
        ("http://vllm-1:8000/v1/", "http://a:b@vllm/v1", r"base_url: must hold no user name or password"),
        ("http://vllm-1:8000/v1/", "http://vllm:99999/", r"base_url: must be an http or https URL"),
        ("http://vllm-1:8000/v1/", "http://vllm/v1?key=a", r"base_url: must end with its path"),
        ("        model: qwen-8b\n", "", r"models.yaml:16: models.big.targets\[1\].model: is missing"),
        ("VLLM_KEY", "sk-abc", r"models.yaml:13: .*key_env: must be the name of an environment variable"),
        (
            "X-Team: chat",
            "Authorization: a",
            r"models.yaml:14: .*Authorization: cannot be set here; a key",
        ),
        ("X-Team: chat", "'X Team': chat", r"models.yaml:14: .*is not an HTTP header"),
        ("12.5", "never", r"models.yaml:15: .*first_token_timeout: must be a number of seconds"),
        ("12.5", "0", r"first_token_timeout: must be above 0 and at most 3600 seconds, not 0"),
        ("key_file: key.txt", "key_file: k\n        key_env: K", r"key_file: stands beside key_env; keep one of them"),
        ("name: provider", "name: vllm-1:8000", r"models.yaml:16: .*another target is called 'vllm-1:8000'"),
        ("    targets:", "    engine: llama\n    targets:", r"models.yaml:7: models.big.engine: belongs into a target"),
        ("engine: upstream\n        base", "engine: llama\n        base", r"unknown field of engine llama"),
    ],
)
def test_what_is_wrong_with_targets_and_aliases_is_named(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in UPSTREAM
    with pytest.raises(StartupError, match=problem):
        load_model_list(written(tmp_path, UPSTREAM.replace(old, new)))


def test_a_key_is_read_from_where_the_list_says_and_errors_name_the_line(tmp_path: Path) -> None:
    first, second = load_model_list(written(tmp_path, UPSTREAM)).models["big"].targets
    assert isinstance(first, UpstreamTarget)
    assert isinstance(second, UpstreamTarget)
    assert first.secret is not None
    assert second.secret is not None
    assert first.secret.read({"VLLM_KEY": " sk-1\n"}) == "sk-1"
    with pytest.raises(StartupError, match=r"models.yaml:13: .*key_env: the environment variable VLLM_KEY is not set"):
        first.secret.read({})
    with pytest.raises(StartupError, match=r"models.yaml:21: .*key_file: cannot read the key's file: No such file"):
        second.secret.read({})
    (tmp_path / "key.txt").write_text("sk-2\n")
    assert second.secret.read({}) == "sk-2"
    with pytest.raises(StartupError, match="characters that no HTTP header can carry") as caught:
        first.secret.read({"VLLM_KEY": "sk-\x01secret"})
    assert "secret" not in str(caught.value)


def test_another_model_file_takes_the_shipped_projector_and_vision_away(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    entry = with_model_file(load_model_list(None), other).models["muh-chat"]
    assert entry.targets == (LlamaTarget("llama", other, 2048),)
    assert entry.abilities == {"tools", "json"}


def test_another_model_file_keeps_a_projector_that_was_named_and_leaves_upstreams_alone(tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    listed = load_model_list(written(tmp_path, GOOD.replace("abilities: [tools]", "projector: eyes.gguf")))
    entry = with_model_file(listed, other).models["small"]
    assert llama_of(entry).file == other
    assert llama_of(entry).projector == tmp_path / "eyes.gguf"
    assert entry.abilities == {"vision"}
    upstreams = load_model_list(written(tmp_path, UPSTREAM))
    replaced = with_model_file(upstreams, other)
    assert replaced.models["big"] == upstreams.models["big"]
    assert with_model_file(upstreams, None) is upstreams


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
def test_an_upstream_names_what_counts_its_tokens(tmp_path: Path, name: str) -> None:
    (target,) = load_model_list(written(tmp_path, COUNTED.format(tokenizer=name))).models["big"].targets
    assert isinstance(target, UpstreamTarget)
    assert target.tokenizer == Tokenizer(name=name)


def test_a_tokenizers_file_is_relative_to_the_list_and_need_not_be_there_for_those_who_do_not_count(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, COUNTED.format(tokenizer="qwen/tokenizer.json"))
    (target,) = load_model_list(path).models["big"].targets
    assert isinstance(target, UpstreamTarget)
    assert target.tokenizer == Tokenizer(file=tmp_path / "qwen" / "tokenizer.json")


def test_an_unknown_tokenizer_is_named_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path, COUNTED.format(tokenizer="gpt2"))
    with pytest.raises(StartupError) as caught:
        load_model_list(path)
    known = "known: o200k_base, cl100k_base, or the path of a tokenizer.json"
    assert str(caught.value) == f"{path}:8: models.big.tokenizer: unknown 'gpt2'; {known}"
