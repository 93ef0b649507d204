"""A hold's conversation with quota, outcome by outcome, and against every order of breaks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muhgpt.quota.v1 import quota_pb2
from services.edge.peers.quota.hold import NO_FEATURES, Hold

ID = b"0123456789abcdef"
CONFIRM = frozenset({"confirm"})
Refused = quota_pb2.Refused


class Conversation:
    """A hold, with everything that it wanted to say."""

    def __init__(self) -> None:
        self.woken = 0
        self.hold = Hold(ID, lambda hold: None, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    def sent(self, features: frozenset[str] = NO_FEATURES) -> list[str]:
        return [operation.WhichOneof("operation") or "" for operation in self.hold.take(1.0, features)]

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
    assert not talk.hold.ended
    talk.answer(settled=quota_pb2.Settled(credits=1))
    assert talk.hold.ended


def test_a_slide_that_quota_refuses_loses_the_hold() -> None:
    talk = Conversation()
    talk.reserve()
    talk.hold.progress(30, 30)
    assert talk.sent() == ["progress"]
    talk.answer(refused=Refused(reason=Refused.REASON_HOLD_ENDED))
    assert talk.hold.lost
    assert talk.woken == 2


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


def charged(talk: Conversation) -> None:
    """A whole answer that a new quota has charged and that is not yet written."""
    talk.reserve()
    talk.hold.settle(3, unconfirmed=True)
    (operation,) = talk.hold.take(1.0, CONFIRM)
    assert operation.settle.unconfirmed
    talk.answer(settled=quota_pb2.Settled(credits=1))
    assert (talk.hold.charged, talk.hold.ended) == (True, False)


def test_a_charge_waits_for_its_confirmation_and_says_nothing_meanwhile() -> None:
    talk = Conversation()
    charged(talk)
    talk.hold.forget_sent()
    assert not talk.hold.unanswered
    assert talk.sent(CONFIRM) == []
    talk.hold.confirm()
    assert talk.sent(CONFIRM) == ["confirm"]
    talk.hold.forget_sent()
    assert talk.sent(CONFIRM) == ["confirm"]
    talk.answer(confirmed=quota_pb2.Confirmed())
    assert talk.hold.ended


def test_a_confirmation_waits_for_a_replica_that_knows_it() -> None:
    talk = Conversation()
    charged(talk)
    talk.hold.confirm()
    assert talk.sent(NO_FEATURES) == []
    assert talk.sent(CONFIRM) == ["confirm"]


def test_a_charge_that_an_old_replica_repeats_is_confirmed_at_a_new_one() -> None:
    """The new one knows it as unconfirmed; the old one gives the first answer and confirms nothing."""
    talk = Conversation()
    talk.reserve()
    talk.hold.settle(3, unconfirmed=True)
    assert talk.sent(CONFIRM) == ["settle"]
    talk.hold.forget_sent()
    (operation,) = talk.hold.take(1.0, NO_FEATURES)
    assert not operation.settle.unconfirmed
    talk.answer(settled=quota_pb2.Settled(credits=1))
    talk.hold.confirm()
    assert talk.sent(CONFIRM) == ["confirm"]


def test_a_settlement_that_was_not_sent_when_the_answer_was_written_needs_no_confirmation() -> None:
    talk = Conversation()
    talk.reserve()
    talk.hold.settle(3, unconfirmed=True)
    talk.hold.confirm()
    (operation,) = talk.hold.take(1.0, CONFIRM)
    assert not operation.settle.unconfirmed
    talk.answer(settled=quota_pb2.Settled(credits=1))
    assert talk.hold.ended


def test_a_higher_prompt_goes_out_before_the_end_and_again_after_a_break() -> None:
    talk = Conversation()
    talk.reserve()
    talk.hold.slide_prompt(70)
    talk.hold.settle(3, 70)
    assert talk.sent(NO_FEATURES) == ["settle"]
    talk.hold.forget_sent()
    progress, settle = talk.hold.take(1.0, frozenset({"prompt_slide"}))
    assert (progress.progress.prompt_tokens, settle.settle.prompt_tokens) == (70, 70)


@given(st.lists(st.sampled_from(["send", "send old", "break", "answer", "settle", "confirm", "look"]), max_size=40))
def test_after_any_history_a_whole_answer_is_charged_and_confirmed_at_quota(history: list[str]) -> None:
    talk, unanswered, unconfirmed = Conversation(), list[tuple[str, bool]](), False
    talk.reserve()

    def send(features: frozenset[str]) -> None:
        nonlocal unconfirmed
        for operation in talk.hold.take(1.0, features):
            kind = operation.WhichOneof("operation") or ""
            new = features == CONFIRM
            if kind == "confirm" or (kind == "settle" and new and state["charged"]):
                unconfirmed = unconfirmed and kind == "settle" and operation.settle.unconfirmed
            elif kind == "settle" and not state["charged"]:
                unconfirmed, state["charged"] = operation.settle.unconfirmed, True
            unanswered.append((kind, new))

    def answer() -> None:
        kind, _ = unanswered.pop(0)
        if kind == "settle":
            talk.answer(settled=quota_pb2.Settled(credits=1))
        else:
            talk.answer(confirmed=quota_pb2.Confirmed())

    state = {"charged": False}
    for event in history:
        if event == "send":
            send(CONFIRM)
        elif event == "send old":
            send(NO_FEATURES)
        elif event == "break":
            unanswered.clear()
            talk.hold.forget_sent()
        elif event == "answer" and unanswered:
            answer()
        elif event == "settle":
            talk.hold.settle(3, unconfirmed=True)
        elif event == "confirm":
            talk.hold.confirm()
        elif event == "look":
            talk.hold.overdue()
    talk.hold.settle(3, unconfirmed=True)
    talk.hold.confirm()
    unanswered.clear()
    talk.hold.forget_sent()
    for _ in range(2):
        send(CONFIRM)
        while unanswered:
            answer()
    assert state["charged"]
    assert not unconfirmed
    assert talk.hold.ended
