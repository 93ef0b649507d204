"""Texts beside the code: lists with an entry a line, and dialogues of marked lines.

A dialogue's lines begin with `?` (ask), `>` (answer) and, where evaluation asks too, `!` (ask, never in training) and
`=` (what every answer must hold: all of `a & b`, one of `a|b`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).with_name("text")


@dataclass(frozen=True)
class Dialogue:
    """Questions that mean the same, answers that fit each, and how evaluation asks and judges."""

    questions: list[str]
    answers: list[str]
    kept: list[str]
    facts: list[list[str]]

    def holds(self, answer: str) -> bool:
        """Whether an answer has every fact."""
        return all(any(word in answer for word in fact) for fact in self.facts)


def entries(name: str) -> list[str]:
    """The lines of text/<name>.txt."""
    return (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def dialogues(name: str) -> list[Dialogue]:
    """The blocks of text/<name>.txt. Raises ValueError for a wrong block."""
    return parsed(name, entries(name))


def parsed(name: str, lines: list[str]) -> list[Dialogue]:
    r"""The blocks of these lines; `\n` written out there is a line break. Raises ValueError that names the text."""
    return [_dialogue(name, block) for block in "\n".join(lines).split("\n\n")]


def _dialogue(name: str, block: str) -> Dialogue:
    lines = [line.replace("\\n", "\n") for line in block.split("\n")]
    marked = {mark: [line[2:] for line in lines if line.startswith(f"{mark} ")] for mark in "?>!="}
    facts = [fact.split("|") for line in marked["="] for fact in line.split(" & ")]
    dialogue = Dialogue(marked["?"], marked[">"], marked["!"], facts)
    if not dialogue.questions or not dialogue.answers or sum(map(len, marked.values())) != len(lines):
        raise ValueError(f"text/{name}.txt: a block needs `? ` lines, then `> ` lines: {block[:60]!r}")
    for answer in dialogue.answers:
        if not dialogue.holds(answer):
            raise ValueError(f"text/{name}.txt: an answer lacks one of {facts}: {answer!r}")
    return dialogue
