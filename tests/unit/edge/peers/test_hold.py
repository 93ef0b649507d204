"""A hold's conversation with quota, outcome by outcome, and against every order of breaks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muhgpt.quota.v1 import quota_pb2
from services.edge.peers.hold import Hold

ID = b"0123456789abcdef"
Refused = quota_pb2.Refused


class Conversation:
    """A hold, with everything that it wanted to say."""

    def __init__(self) -> None:
        self.woken = 0
        self.hold = Hold(ID, lambda hold: None, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def sent(self) -> list[str]:
        return [operation.WhichOneof("operation") or "" for operation in self.hold.take(1.0)]

    def reserve(self, covered: int = 64) -> None:
        self.hold.reserve(quota_pb2.Reserve(account_id="a", prompt_tokens=1, max_tokens=500, choices=1))
        assert self.sent() == ["reserve"]
        self.answer(reserved=quota_pb2.Reserved(max_tokens=500, covered_tokens=covered))

    def answer(self, **outcome: object) -> bool:
        return self.hold.accept(quota_pb2.Outcome(hold_id=ID, **outcome))  # type: ignore[arg-type]


def test_progress_is_one_at_a_time_and_the_latest_wins() -> None:
    talk = Conversation()
    talk.reserve()
    talk.hold.progress(30, 30)
    assert talk.sent() == ["progress"]
    talk.hold.progress(40, 40)
    talk.hold.progress(50, 50)
    assert talk.sent() == []
    talk.answer(progressed=quota_pb2.Progressed(covered_tokens=94))
    assert talk.hold.answered == 30
    (operation,) = talk.hold.take(1.0)
    assert operation.progress.delivered_tokens == 50


def test_an_end_overtakes_progress_that_was_not_sent() -> None:
    talk = Conversation()
    talk.reserve()
    talk.hold.progress(30, 30)
    talk.hold.settle(31)
    assert talk.sent() == ["settle"]


def test_only_the_first_end_counts() -> None:
    talk = Conversation()
    talk.reserve()
    talk.hold.settle(3)
    talk.hold.release()
    talk.hold.settle(9)
    (operation,) = talk.hold.take(1.0)
    assert operation.settle.output_tokens == 3


def test_settling_nothing_is_a_release() -> None:
    talk = Conversation()
    talk.reserve()
    talk.hold.settle(0)
    assert talk.sent() == ["release"]


def test_a_reservation_that_never_left_is_forgotten_without_a_word() -> None:
    talk = Conversation()
    talk.hold.reserve(quota_pb2.Reserve())
    talk.hold.release()
    assert talk.hold.ended
    assert talk.sent() == []


def test_a_reservation_given_up_after_it_left_is_released_and_never_repeated() -> None:
    talk = Conversation()
    talk.hold.reserve(quota_pb2.Reserve())
    assert talk.sent() == ["reserve"]
    talk.hold.release()
    talk.hold.forget_sent()
    assert talk.sent() == ["release"]
    talk.answer(released=quota_pb2.Released())
    assert talk.hold.ended


def test_a_refusal_belongs_to_the_oldest_operation_under_way() -> None:
    talk = Conversation()
    talk.reserve()
    talk.hold.progress(30, 30)
    assert talk.sent() == ["progress"]
    talk.hold.settle(31)
    assert talk.sent() == ["settle"]
    talk.answer(refused=Refused(reason=Refused.REASON_INVALID))
    assert talk.hold.lost
    assert not talk.hold.ended
    talk.answer(settled=quota_pb2.Settled(credits=1))
    assert talk.hold.ended


def test_what_quota_could_not_decide_is_asked_again() -> None:
    talk = Conversation()
    talk.reserve()
    talk.hold.settle(3)
    assert talk.sent() == ["settle"]
    assert talk.answer(refused=Refused(reason=Refused.REASON_UNAVAILABLE))
    assert not talk.hold.ended
    assert talk.sent() == ["settle"]


def test_an_end_is_overdue_at_the_second_look_and_then_sent_again() -> None:
    talk = Conversation()
    talk.reserve()
    talk.hold.settle(3)
    assert talk.sent() == ["settle"]
    assert [talk.hold.overdue(), talk.hold.overdue()] == [False, True]
    assert talk.sent() == ["settle"]


def test_outcomes_that_nobody_asked_for_change_nothing() -> None:
    talk = Conversation()
    talk.answer(settled=quota_pb2.Settled(credits=5))
    talk.answer(refused=Refused(reason=Refused.REASON_HOLD_ENDED))
    assert not talk.hold.ended
    assert talk.woken == 0


@given(st.lists(st.sampled_from(["send", "break", "answer", "progress", "settle"]), max_size=40))
def test_after_any_history_one_quiet_stream_ends_the_hold(history: list[str]) -> None:
    """Whatever was lost: once a stream holds, everything unanswered is sent, and one answer each ends it."""
    talk, unanswered, delivered = Conversation(), [], 0
    talk.hold.reserve(quota_pb2.Reserve(max_tokens=500))

    def answer(kind: str) -> None:
        outcomes = {
            "reserve": {"reserved": quota_pb2.Reserved(max_tokens=500, covered_tokens=64)},
            "progress": {"progressed": quota_pb2.Progressed(covered_tokens=delivered + 64)},
            "settle": {"settled": quota_pb2.Settled(credits=1)},
            "release": {"released": quota_pb2.Released()},
        }
        talk.answer(**outcomes[kind])

    for event in history:
        if event == "send":
            unanswered += talk.sent()
        elif event == "break":
            unanswered.clear()
            talk.hold.forget_sent()
        elif event == "answer" and unanswered:
            answer(unanswered.pop(0))
        elif event == "progress" and talk.hold.reserved is not None:
            delivered += 1
            talk.hold.progress(delivered, delivered)
        elif event == "settle" and talk.hold.reserved is not None:
            talk.hold.settle(delivered)
    talk.hold.settle(delivered)
    talk.hold.forget_sent()
    for kind in talk.sent():
        answer(kind)
    assert talk.hold.ended
    assert talk.sent() == []
