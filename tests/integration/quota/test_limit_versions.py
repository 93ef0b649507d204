"""Which limits are in force when edges present different versions of them, made-up ones too."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.quota.domain.outcomes import Reason, Reserved
from services.quota.domain.versions import AGREED_AFTER, MAX_STEP, MAX_VERSION
from services.quota.running.guard import Guard
from tests.integration.quota.conftest import Ledger, hold_id, judged, refused, reserve, reserved


class Edges:
    """Presents versions as edges do, each in a request of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._guard = Guard(ledger.clock)
        self._count = 0

    async def present(self, version: int, rpm: int = 1000, ceiling: int | None = None) -> Reserved:
        self._count += 1
        operation = reserve(
            f"{self._count}", rpm=rpm, version=version, ceiling=ceiling, made_us=self._ledger.clock.now_us()
        )
        return reserved(await self._ledger.one(judged(self._guard, operation)))

    async def limit(self, version: int, rpm: int) -> int:
        return (await self.present(version, rpm)).window.limit


@pytest.fixture
async def edges(ledger: Ledger) -> Edges:
    await ledger.grant("a", 10**9)
    return Edges(ledger)


async def test_an_edge_that_heard_late_cannot_bring_old_limits_back(edges: Edges, ledger: Ledger) -> None:
    assert await edges.limit(1, 100) == 100
    assert await edges.limit(2, 200) == 200
    for _ in range(6):
        ledger.clock.advance(1)
        assert await edges.limit(1, 100) == 200
        assert await edges.limit(2, 200) == 200


@pytest.mark.parametrize("made_up", [3, 1000, MAX_STEP, MAX_VERSION])
async def test_an_operators_change_wins_over_a_version_that_was_made_up(
    edges: Edges, ledger: Ledger, made_up: int
) -> None:
    assert await edges.limit(1, 100) == 100
    await edges.present(made_up, 7777)
    for _ in range(int(2 * AGREED_AFTER) + 2):
        ledger.clock.advance(1)
        limit = await edges.limit(2, 50)
    assert limit == 50
    assert await edges.limit(3, 60) == 60


@pytest.mark.parametrize("made_up", [MAX_STEP + 3, MAX_VERSION])
@pytest.mark.parametrize("first", [True, False])
async def test_an_edge_that_goes_on_presenting_a_version_far_from_the_others_never_wins(
    edges: Edges, ledger: Ledger, made_up: int, first: bool
) -> None:
    """Were it there first and alone, it wins until the others come."""
    for _ in range(int(2 * AGREED_AFTER) if first else 0):
        await edges.present(made_up, 7777)
        ledger.clock.advance(1)
    for second in range(int(3 * AGREED_AFTER)):
        await edges.present(made_up, 7777)
        limit = await edges.limit(2 if second > AGREED_AFTER else 1, 500)
        assert limit == 500 or (first and second <= AGREED_AFTER)
        assert await edges.limit(made_up, 7777) == limit
        ledger.clock.advance(1)
    assert await edges.limit(3, 600) == 600


@pytest.mark.parametrize("made_up", [MAX_STEP + 1, MAX_VERSION])
async def test_a_version_that_was_made_up_for_an_account_never_seen_gives_way_at_once(
    edges: Edges, made_up: int
) -> None:
    await edges.present(made_up, 7777)
    assert await edges.limit(1, 50) == 50


async def test_a_change_that_gets_the_number_of_a_made_up_version_wins_too(edges: Edges, ledger: Ledger) -> None:
    await edges.present(1, 100)
    await edges.present(2, 7777)
    ledger.clock.advance(AGREED_AFTER)
    await edges.present(2, 50)
    ledger.clock.advance(AGREED_AFTER)
    assert await edges.limit(2, 50) == 50


async def test_a_ceiling_that_was_made_up_gives_way_as_well(edges: Edges, ledger: Ledger) -> None:
    await edges.present(1, ceiling=100_000)
    await edges.present(900, ceiling=None)
    for _ in range(int(2 * AGREED_AFTER) + 2):
        ledger.clock.advance(1)
        outcome = await edges.present(2, ceiling=25_000)
    assert outcome.max_tokens == 100
    operation = reserve("big", prompt=30_000, ceiling=25_000, version=2, rpm=1000, made_us=ledger.clock.now_us())
    assert refused(await ledger.one(operation)) is Reason.KEY_LIMIT_REACHED


async def test_a_key_of_another_account_reserves_nothing(ledger: Ledger) -> None:
    await ledger.grant("a", 1000)
    await ledger.grant("b", 1000)
    reserved(await ledger.one(reserve("h", "a", key="k")))
    assert refused(await ledger.one(reserve("x", "b", key="k"))) is Reason.INVALID
    both = await ledger.do(reserve("y", "b", key="k"), replace(reserve("z", "a", key="k"), prompt_tokens=11))
    assert refused(both[0]) is Reason.INVALID
    reserved(both[1])
    assert hold_id("x") not in {row.id for row in await ledger.reader.charges("b", 10, None)}
    assert await ledger.money("b") == (1000, 0)
    await ledger.check()
