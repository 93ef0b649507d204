"""Whole answers and streams, as the reference shows them and as the SDK's users ask for them."""

from __future__ import annotations

import pytest
from sdk import ask, client, helpers, needs
from surroundings import HELLO

HAIKU = [{"role": "user", "content": "Write a haiku"}]
COUNT = [{"role": "user", "content": "Count to twenty."}]


def test_the_quickstart_of_the_reference_prints_an_answer() -> None:
    with client() as sdk:
        resp = sdk.chat.completions.create(
            model="muh-chat",
            messages=[{"role": "user", "content": "Hello!"}],
        )
    assert resp.choices[0].message.content
    assert resp.choices[0].message.role == "assistant"
    assert resp.choices[0].finish_reason in ("stop", "length")
    assert (resp.object, resp.model) == ("chat.completion", "muh-chat")
    assert resp.id.startswith("chatcmpl-")
    assert resp.created > 1_700_000_000
    assert resp.usage.total_tokens == resp.usage.prompt_tokens + resp.usage.completion_tokens > 1


def test_the_streaming_example_of_the_reference_runs_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    with client() as sdk:
        stream = sdk.chat.completions.create(
            model="muh-chat",
            messages=[{"role": "user", "content": "Write a haiku"}],
            stream=True,
        )
        for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="")
    assert capsys.readouterr().out.strip()


def test_every_chunk_has_a_choice_and_the_last_has_the_usage() -> None:
    with client() as sdk:
        chunks = list(ask(sdk, messages=HAIKU, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")
    usage = _dump(chunks[-1])["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 1


def test_include_usage_is_openais_form() -> None:
    with client() as sdk:
        chunks = list(ask(sdk, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert _dump(chunks[-1])["usage"]["completion_tokens"] >= 1
    assert all(chunk.choices and _dump(chunk)["usage"] is None for chunk in chunks[:-1])


def test_a_seed_gives_the_same_answer_and_usage_streamed_and_not() -> None:
    fields = {"messages": HAIKU, "seed": 11, "temperature": 1.0, "max_tokens": 60}
    with client() as sdk:
        first, second = ask(sdk, **fields), ask(sdk, **fields)
        chunks = list(ask(sdk, **fields, stream=True))
    assert first.choices[0].message.content == second.choices[0].message.content
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == first.choices[0].message.content
    assert _dump(chunks[-1])["usage"] == _dump(first)["usage"] == _dump(second)["usage"]


@pytest.mark.parametrize("stream", [False, True])
def test_n_gives_so_many_choices(stream: bool) -> None:
    with client() as sdk:
        answer = ask(sdk, n=3, stream=stream, max_tokens=8)
        if not stream:
            assert [choice.index for choice in answer.choices] == [0, 1, 2]
            assert all(choice.message.content for choice in answer.choices)
            return
        ended = {choice.index: choice.finish_reason for chunk in answer for choice in chunk.choices}
    assert set(ended) == {0, 1, 2}
    assert all(ended.values())


def test_max_tokens_is_exact_and_told_as_length() -> None:
    for name in ("max_tokens", "max_completion_tokens"):
        with client() as sdk:
            answer = ask(sdk, messages=COUNT, **{name: 3})
        assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (3, "length")


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_have_a_token_its_bytes_and_its_rivals(stream: bool) -> None:
    with client() as sdk:
        answer = ask(sdk, logprobs=True, top_logprobs=2, max_tokens=5, stream=stream)
        if stream:
            parts = [_dump(chunk)["choices"][0] for chunk in answer]
            tokens = [token for part in parts for token in (part["logprobs"] or {"content": []})["content"]]
            text = "".join(part["delta"].get("content") or "" for part in parts)
        else:
            tokens = _dump(answer)["choices"][0]["logprobs"]["content"]
            text = answer.choices[0].message.content
    assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == text
    for token in tokens:
        assert token["logprob"] <= 0
        assert len(token["top_logprobs"]) == 2


@pytest.mark.parametrize("stop", ["7", ["7", "13"]])
def test_a_stop_sequence_ends_the_answer_before_itself(stop: str | list[str]) -> None:
    with client() as sdk:
        answer = ask(sdk, messages=COUNT, stop=stop, temperature=0, max_tokens=100)
    assert answer.choices[0].finish_reason == "stop"
    assert "6" in answer.choices[0].message.content
    assert "7" not in answer.choices[0].message.content


@pytest.mark.parametrize("alias", ["muh-chat", "gpt-3.5-turbo", "gpt-4o-mini", "gpt-4o"])
def test_an_answer_names_the_alias_that_was_asked(alias: str) -> None:
    with client() as sdk:
        assert ask(sdk, model=alias, max_tokens=2).model == alias


def test_every_option_of_the_reference_and_of_real_clients_is_taken() -> None:
    options = {
        "temperature": 0.5,
        "top_p": 0.9,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "logit_bias": {"100": -1},
        "user": "user-1",
        "metadata": {"a": "b"},
        "store": False,
        "response_format": {"type": "text"},
    }
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "Hello"}, {"type": "text", "text": "!"}]},
        {"role": "assistant", "content": "Hi."},
        *HELLO,
    ]
    with client() as sdk:
        assert ask(sdk, messages=messages, max_tokens=8, **options).choices[0].message.content is not None


def test_models_are_listed_and_retrieved() -> None:
    with client() as sdk:
        models = {model.id: model for model in sdk.models.list()}
        assert {"muh-chat", "gpt-3.5-turbo", "gpt-4o-mini", "gpt-4o"} == set(models)
        one = sdk.models.retrieve("gpt-4o")
    assert (one.id, one.object, one.owned_by) == ("gpt-4o", "model", models["gpt-4o"].owned_by)


@needs(1, 40, ".stream()")
def test_the_stream_helper_gives_its_events_and_the_whole_answer() -> None:
    with client() as sdk, helpers(sdk, "stream").stream(model="muh-chat", messages=HAIKU) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [event.delta for event in events if event.type == "content.delta"]
    assert deltas
    assert "".join(deltas) == final.choices[0].message.content
    assert {"chunk", "content.delta", "content.done"} <= {event.type for event in events}
    assert final.usage.completion_tokens >= 1


def _dump(model: object) -> dict:
    """What the server sent, also where the SDK's own types are older than a field."""
    return model.model_dump()
