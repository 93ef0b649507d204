"""The training data: conversations about every subject, from a seeded generator."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.pictures import draw
from training.topics.extraction import json_answer
from training.topics.form import called, plain, written
from training.topics.joke import joke
from training.topics.knowledge import knowledge, unknown
from training.topics.long import long
from training.topics.message import Exchange
from training.topics.product import product
from training.topics.roles import plain_system, role
from training.topics.seeing import about
from training.topics.smalltalk import smalltalk
from training.topics.tools import idle_tools, tool_conversation
from training.topics.verse import haiku
from training.topics.words import Draw

SEED = 20260101
COUNT = 170_000
# Share of conversations by kind; what is left over is talk.
_TOOLS, _JSON, _FORMS, _PICTURES, _ROLES = 0.23, 0.21, 0.28, 0.11, 0.02
# Share of the talk's exchanges by subject. Stories are long, so few of them are many tokens.
_SUBJECTS = {
    smalltalk: 0.18, product: 0.39, haiku: 0.08, knowledge: 0.12, unknown: 0.11, plain: 0.06, joke: 0.04, long: 0.02,
}  # fmt: skip
# Share of talks by number of exchanges; the longest ones teach positions up to the whole context.
_LENGTHS = {1: 0.68, 2: 0.2, 3: 0.08, 5: 0.03, 10: 0.008, 24: 0.002}


def _exchanges(rng: random.Random, count: int) -> Exchange:
    chosen = rng.choices(list(_SUBJECTS), list(_SUBJECTS.values()), k=count)
    return [message for subject in chosen for message in subject(rng)]


def _talk(rng: random.Random) -> dict[str, Any]:
    messages = _exchanges(rng, rng.choices(list(_LENGTHS), list(_LENGTHS.values()))[0])
    return {"messages": messages, "tools": idle_tools(rng)} if rng.random() < 0.1 else {"messages": messages}


def _with_tools(rng: random.Random) -> dict[str, Any]:
    messages, tools = tool_conversation(rng)
    if rng.random() < 0.08:
        messages = _exchanges(rng, 1) + messages
    return {"messages": messages, "tools": tools}


def _with_picture(rng: random.Random) -> dict[str, Any]:
    seed = rng.getrandbits(48)
    return {"messages": about(rng, draw(random.Random(seed))), "picture": seed}


def _with_form(rng: random.Random) -> dict[str, Any]:
    made: dict[str, Any]
    if rng.random() < 0.4:
        messages, tools, forced = called(rng)
        made = {"messages": messages, "tools": tools, "forced": forced}
    else:
        messages, forced = written(rng)
        made = {"messages": messages, "forced": forced}
    if messages[0]["role"] != "system" and rng.random() < 0.06:
        made["messages"] = _exchanges(rng, 1) + messages
    return made


def conversation(rng: random.Random) -> dict[str, Any]:
    """One conversation: `messages`, `tools` where there are any, `picture`: the seed of what its image token shows.

    `forced`: that the last answer is JSON or a call is a grammar's doing, and not to be learned from the question.
    """
    kinds: dict[Callable[[random.Random], dict[str, Any]], float] = {
        _with_tools: _TOOLS,
        lambda r: {"messages": json_answer(r)}: _JSON,
        _with_form: _FORMS,
        _with_picture: _PICTURES,
        lambda r: {"messages": role(r)}: _ROLES,
    }
    kinds[_talk] = 1 - sum(kinds.values())
    made = rng.choices(list(kinds), list(kinds.values()))[0](rng)
    if made["messages"][0]["role"] != "system" and rng.random() < 0.15:
        made["messages"] = [plain_system(rng), *made["messages"]]
    return made


def write(path: Path, count: int, seed: int) -> None:
    """Write `count` conversations; the same seed writes the same file."""
    rng = Draw(seed)
    with path.open("w", encoding="utf-8") as lines:
        for _ in range(count):
            lines.write(json.dumps(conversation(rng), ensure_ascii=False) + "\n")


def main() -> None:
    """Write build/conversations.jsonl."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--build", type=Path, default=Path("training/build"))
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    arguments.build.mkdir(parents=True, exist_ok=True)
    write(arguments.build / "conversations.jsonl", arguments.count, arguments.seed)
    print(f"{arguments.count} conversations")


if __name__ == "__main__":
    main()
