"""What the shipped model is taught: the same every time, right in itself, and never what evaluation asks with."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest

from training.data import conversation
from training.pictures import COLOURS, NOTHING, SHAPES, draw
from training.topics import words
from training.topics.extraction import extraction
from training.topics.form import form, written
from training.topics.joke import JOKES
from training.topics.product import FACTS
from training.topics.script import dialogues
from training.topics.tools import need, result

LISTS = ("cities", "long_cities", "names", "subjects", "things", "kinds")


def made(seed: int, count: int = 400) -> list[dict[str, Any]]:
    rng = words.Draw(seed)
    return [conversation(rng) for _ in range(count)]


def test_the_same_seed_makes_the_same_conversations_and_another_seed_others() -> None:
    assert made(1) == made(1)
    assert made(1) != made(2)


@pytest.mark.parametrize("make", [words.invented, words.lower_word, words.thing, words.person, words.phrase])
def test_the_two_sides_share_no_word(make: Any) -> None:
    """All names and things, of which the last word is the one that is chosen."""
    training, evaluation = words.Draw(3), words.Draw(3, held_out=True)
    shown = {word for _ in range(1500) for word in new_words(make(training))}
    asked = {word for _ in range(300) for word in new_words(make(evaluation))}
    assert len(shown) > 40
    assert len(asked) > 15
    assert not shown & asked


@cache
def listed() -> frozenset[str]:
    """Words that stand in lists, where whole entries are kept or shown, and not the words of an entry."""
    return frozenset(part.lower() for name in LISTS for entry in words.entries(name) for part in entry.split())


def new_words(text: str) -> Iterator[str]:
    """The words that were made up."""
    known = listed() | {prefix.lower() for prefix in words.PREFIXES}
    return (word for word in re.findall(r"[A-Za-z]+", text) if word.lower() not in known and len(word) > 4)


def test_a_needed_tool_is_on_offer_and_its_arguments_fit_its_schema_and_stand_in_the_question() -> None:
    rng = words.Draw(4)
    for _ in range(500):
        asked = need(rng)
        (offered,) = [t["function"] for t in asked.tools if t["function"]["name"] == asked.name]
        jsonschema.validate(asked.arguments, offered["parameters"] | {"additionalProperties": False})
        assert all(str(value) in asked.question for value in asked.arguments.values())
        names = [tool["function"]["name"] for tool in asked.tools]
        assert len(set(names)) == len(names)


def test_the_answer_to_a_tools_result_holds_every_value_of_it() -> None:
    rng = words.Draw(5)
    for _ in range(500):
        asked = need(rng)
        returned = result(rng, asked.tool, asked.arguments)
        assert returned.facts
        assert all(fact.lower() in returned.answer.lower() for fact in returned.facts), returned


def test_json_answers_fit_their_schemas_and_stand_in_the_text() -> None:
    rng = words.Draw(6)
    for _ in range(500):
        asked = extraction(rng)
        jsonschema.validate(asked.answer, asked.schema)
        flat = itertools.chain(*(v if isinstance(v, list) else [v] for v in asked.answer.values()))
        assert all(isinstance(value, bool) or str(value) in asked.prompt for value in flat), asked


@pytest.mark.parametrize("held_out", [False, True])
def test_free_text_in_json_fits_its_schema_which_bounds_nothing_and_no_text_is_long(held_out: bool) -> None:
    rng = words.Draw(8, held_out=held_out)
    for _ in range(500):
        asked = form(rng)
        jsonschema.validate(asked.answer, asked.schema)
        assert not {"maxLength", "maxItems", "enum", "pattern"} & set(re.findall(r"\w+", json.dumps(asked.schema)))
        assert all(len(text) <= 300 for text in texts(asked.answer)), asked.answer


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts(part)


def test_json_is_a_grammars_doing_unless_somebody_wrote_of_it() -> None:
    rng = words.Draw(9)
    for _ in range(500):
        messages, forced = written(rng)
        *asked, answer = messages
        json.loads(answer["content"])
        assert forced or any("JSON" in message["content"] for message in asked), messages


def test_no_joke_is_told_twice() -> None:
    assert len(JOKES) >= 25
    assert len({joke.setup for joke in JOKES}) == len({joke.punchline for joke in JOKES}) == len(JOKES)


def test_every_answer_about_the_api_holds_its_key_facts_and_no_other_topic_would_pass() -> None:
    """`holds` is what evaluation judges by, so it must tell a right answer from a wrong one."""
    for fact in FACTS:
        assert fact.kept
        assert not set(fact.kept) & set(fact.questions)
        assert all(fact.holds(answer) for answer in fact.answers)
        others = [answer for other in FACTS if other is not fact for answer in other.answers]
        passing = sum(fact.holds(answer) for answer in others)
        assert passing <= len(others) * 0.25, (fact.questions[0], passing)


def test_a_wrong_block_of_text_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.topics import script

    for block in ("? a question without an answer", "? q\n= fact\n> an answer without it", "? q\n> a\nno mark"):
        monkeypatch.setattr(script, "entries", lambda name, block=block: block.split("\n"))
        with pytest.raises(ValueError, match=r"text/product.txt"):
            dialogues("product")


def test_pictures_show_what_they_are_labelled_with() -> None:
    """The colour's middle is the commonest colour but for the background's, whatever the shape."""
    seen = set()
    for seed in range(300):
        picture = draw(random.Random(seed))
        assert draw(random.Random(seed)).image.tobytes() == picture.image.tobytes()
        seen.add((picture.colour, picture.shape))
        if picture.shape == NOTHING:
            continue
        pixels = picture.image.resize((48, 48)).getcolors(48 * 48) or []
        middle = COLOURS[picture.colour]
        near = sum(count for count, pixel in pixels if distance(pixel, middle) < 170)
        assert near >= 48 * 48 * 0.01, (seed, picture.colour, picture.shape)
    assert {shape for _, shape in seen} == {*SHAPES, NOTHING}
    assert {colour for colour, _ in seen} == {*COLOURS, ""}


def distance(pixel: Any, middle: tuple[int, int, int]) -> int:
    return sum(abs(a - b) for a, b in zip(pixel, middle, strict=True))


def test_conversations_can_be_rendered_and_end_with_the_assistant() -> None:
    for one in made(7, 600):
        assert one["messages"][-1]["role"] == "assistant"
        assert "\x00" not in json.dumps(one)
        pictures = sum(str(m["content"]).count("<|image|>") for m in one["messages"])
        assert pictures == ("picture" in one)
