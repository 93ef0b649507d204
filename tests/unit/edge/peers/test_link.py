"""How long a broken stream waits before it is opened again."""

from __future__ import annotations

from services.edge.peers.streaming.link import LONGEST_PAUSE, reconnect_pause


def test_a_stream_that_had_worked_is_opened_again_at_once() -> None:
    assert reconnect_pause(0) == 0


def test_attempts_that_fail_wait_longer_and_longer_but_never_more_than_a_second() -> None:
    longest = [max(reconnect_pause(failures) for _ in range(50)) for failures in range(1, 40)]
    assert longest[0] < 0.05
    assert longest[5] > longest[0]
    assert all(pause <= LONGEST_PAUSE for pause in longest)
    assert reconnect_pause(10_000) >= LONGEST_PAUSE / 2


def test_edges_that_lost_the_same_peer_do_not_come_back_in_step() -> None:
    assert len({reconnect_pause(6) for _ in range(20)}) > 10
