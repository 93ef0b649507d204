"""The worker's events read as deltas, however the bytes are cut; and what a GGUF file says of its tokens."""

from __future__ import annotations

import struct
from pathlib import Path

import orjson
import pytest

from common.gguf import control_tokens, sampling
from servicekit.errors import StartupError
from services.inference.default_model import FILE as DEFAULT_FILE
from services.inference.domain.engine import FinishReason
from services.inference.domain.errors import EngineUnavailable
from services.inference.engines.llama.completion import CompletionReader
from services.inference.engines.llama.request import SamplingDefaults


def event(text: str, predicted: int, **fields: object) -> bytes:
    data = {"content": text, "tokens_predicted": predicted, "tokens_evaluated": 9, "stop": False, **fields}
    return b"data: " + orjson.dumps(data) + b"\n\n"


STREAM = event("é", 1) + event("", 2) + b": ping\n\n" + event(" b", 4) + event("", 5, stop=True, stop_type="eos")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 10_000])
def test_any_cut_of_the_bytes_gives_the_same_text_and_counts(size: int) -> None:
    reader = CompletionReader(0)
    parts = [reader.feed(STREAM[at : at + size]) for at in range(0, len(STREAM), size)]
    deltas = [delta for delta in parts if delta is not None]
    assert "".join(delta.text for delta in deltas) == "é b"
    assert sum(delta.tokens for delta in deltas) == 5 == reader.output_tokens
    assert deltas[-1].finish_reason is FinishReason.STOP
    assert (reader.prompt_tokens, reader.ended) == (9, True)


def test_what_came_together_is_one_delta() -> None:
    delta = CompletionReader(2).feed(event("a", 1) + event("b", 2))
    assert delta is not None
    assert (delta.choice, delta.text, delta.tokens) == (2, "ab", 2)


def test_a_limit_is_told_as_length() -> None:
    delta = CompletionReader(0).feed(event("a", 1, stop=True, stop_type="limit"))
    assert delta is not None
    assert delta.finish_reason is FinishReason.LENGTH


def test_an_error_event_is_an_engine_that_failed() -> None:
    with pytest.raises(EngineUnavailable):
        CompletionReader(0).feed(b'data: {"error": {"code": 500, "message": "x"}}\n\n')


def test_the_shipped_models_control_tokens_are_found() -> None:
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(control_tokens(DEFAULT_FILE))


@pytest.mark.parametrize("kept", [10, 30, 100, 5000])
def test_a_damaged_description_is_a_clear_error(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "cut.gguf"
    file.write_bytes(DEFAULT_FILE.read_bytes()[:kept])
    with pytest.raises(StartupError, match="damaged"):
        control_tokens(file)


def test_an_absurd_length_does_not_take_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "huge.gguf"
    file.write_bytes(struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 2**62))
    with pytest.raises(StartupError, match="damaged"):
        control_tokens(file)


def test_a_files_advice_for_sampling_holds_where_a_request_says_nothing() -> None:
    """The shipped model's card names these."""
    assert SamplingDefaults.advised(sampling(DEFAULT_FILE)) == SamplingDefaults(0.3, 0.95, 40, 0.05)


@pytest.mark.parametrize("advice", [{}, {"temp": 9.0}, {"temp": float("nan")}, {"top_p": -1.0, "other": 1.0}])
def test_advice_that_is_missing_or_senseless_is_not_followed(advice: dict[str, float]) -> None:
    assert SamplingDefaults.advised(advice) == SamplingDefaults()
