"""What ends answers finds them without looking at all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from services.edge.serving.open_answers import Running


@dataclass(eq=False)
class Answer:
    principal: Any
    key: bytes
    ended: list[Any] = field(default_factory=list)
    looks: int = 0

    @property
    def digest(self) -> bytes:
        self.looks += 1
        return self.key

    def end(self, error: Any) -> None:
        self.ended.append(error)


@dataclass
class Owner:
    account_id: str
    key_id: str = "key"
    max_open_streams: int = 1000


def test_answers_of_one_key_are_ended_without_a_look_at_the_others() -> None:
    running = Running()
    answers = [Answer(Owner(f"account{number}"), number.to_bytes(4)) for number in range(500)]
    for answer in answers:
        running.enter(answer)
        answer.looks = 0
    error: Any = object()
    running.end_digest((7).to_bytes(4), lambda: error)
    assert [answer.ended for answer in answers] == [[error] if number == 7 else [] for number in range(500)]
    assert not any(answer.looks for answer in answers)


def test_a_key_is_in_use_until_its_last_answer_leaves() -> None:
    running = Running()
    first, second = Answer(Owner("ada"), b"key"), Answer(Owner("ada"), b"key")
    for answer in (first, second):
        running.enter(answer)
    running.leave(first)
    running.leave(first)
    assert set(running.digests()) == {b"key"}
    running.leave(second)
    assert set(running.digests()) == set()
    assert len(running) == 0
