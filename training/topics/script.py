"""Texts beside the code: lists with an entry a line, and dialogues of `?` (ask) and `>` (answer) lines."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).with_name("text")
Dialogue = tuple[list[str], list[str]]


def entries(name: str) -> list[str]:
    """The lines of text/<name>.txt."""
    return (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def dialogues(name: str) -> list[Dialogue]:
    r"""The blocks of text/<name>.txt as (questions, answers); `\n` written out there is a line break."""
    found: list[Dialogue] = []
    for block in "\n".join(entries(name)).split("\n\n"):
        lines = [line.replace("\\n", "\n") for line in block.split("\n")]
        questions = [line[2:] for line in lines if line.startswith("? ")]
        answers = [line[2:] for line in lines if line.startswith("> ")]
        if not questions or not answers or len(questions) + len(answers) != len(lines):
            raise ValueError(f"text/{name}.txt: a block needs `? ` lines, then `> ` lines: {block[:60]!r}")
        found.append((questions, answers))
    return found
