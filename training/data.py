"""The conversations: a seeded mixture of all subjects, one JSON object a line."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from training.topics.knowledge import knowledge, unknown
from training.topics.long import long
from training.topics.message import Exchange
from training.topics.product import product
from training.topics.roles import plain_system, role
from training.topics.smalltalk import smalltalk
from training.topics.tools import idle_tools, tool_conversation
from training.topics.verse import haiku

SEED = 20260101
COUNT = 40_000
# Share of exchanges by subject. Stories are long, so few of them are many tokens.
_SUBJECTS = {smalltalk: 0.26, product: 0.27, haiku: 0.09, knowledge: 0.18, unknown: 0.14, long: 0.06}
# Share of conversations by number of exchanges; the longest ones teach positions up to the whole context.
_LENGTHS = {1: 0.62, 2: 0.2, 3: 0.09, 5: 0.06, 10: 0.025, 24: 0.005}


def _exchanges(rng: random.Random, count: int) -> Exchange:
    chosen = rng.choices(list(_SUBJECTS), list(_SUBJECTS.values()), k=count)
    return [message for subject in chosen for message in subject(rng)]


def conversation(rng: random.Random) -> dict[str, Any]:
    """One conversation: `messages`, and `tools` where there are any."""
    count = rng.choices(list(_LENGTHS), list(_LENGTHS.values()))[0]
    kind = rng.random()
    if kind < 0.05:
        return {"messages": role(rng) + (_exchanges(rng, 1) if rng.random() < 0.2 else [])}
    if kind < 0.2:
        messages, tools = tool_conversation(rng)
        if rng.random() < 0.2:
            messages = _exchanges(rng, 1) + messages
    else:
        messages = _exchanges(rng, count)
        tools = idle_tools(rng) if rng.random() < 0.05 else []
    if rng.random() < 0.2:
        messages = [plain_system(rng), *messages]
    return {"messages": messages, "tools": tools} if tools else {"messages": messages}


def write(path: Path, count: int, seed: int) -> None:
    """Write `count` conversations; the same seed writes the same file."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as lines:
        for _ in range(count):
            lines.write(json.dumps(conversation(rng), ensure_ascii=False) + "\n")


def main() -> None:
    """Write build/conversations.jsonl."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--build", type=Path, default=Path("training/build"))
    parser.add_argument("--count", type=int, default=COUNT)
    arguments = parser.parse_args()
    arguments.build.mkdir(parents=True, exist_ok=True)
    write(arguments.build / "conversations.jsonl", arguments.count, SEED)
    print(f"{arguments.count} conversations")


if __name__ == "__main__":
    main()
