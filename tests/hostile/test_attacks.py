"""Whatever one client sends, no other client's stream is cut and none waits (G13, docs/hostile.md)."""

from __future__ import annotations

import pytest

from tests.hostile import report
from tests.hostile.arena import Arena, counted
from tests.hostile.attack import Attack
from tests.hostile.attacks import ATTACKS
from tests.hostile.conftest import LONG
from tests.hostile.memory import pod_limits

SECONDS = 8.0 if LONG else 2.0  # of each attack
SLOWEST = 1.0  # seconds that G13 allows on a busy machine
LIMITS = pod_limits()
NAMES = {attack.name: attack for attack in ATTACKS if LONG or attack.short}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", NAMES)
async def test_an_attack_costs_nobody_else_anything(shared: Arena, name: str) -> None:
    attack, before = NAMES[name], shared.processes()
    row = await shared.suffer(attack, SECONDS)
    report.ROWS.append(row)
    problems = [*hurt(row), *fat(row), *served(attack, row)]
    if gone := before - shared.processes():
        problems.append(f"{len(gone)} processes of the platform died")
    assert not problems, "\n".join([f"{name}:", *problems])


@pytest.mark.timeout(300)
def test_the_books_balance_after_all_of_it(shared: Arena) -> None:
    assert shared.books()["ok"] is True


def hurt(row: report.Row) -> list[str]:
    """What happened to the victim that must not."""
    problems = [f"victim: {each}" for each in row.during.failures[:5]]
    if not row.during.short:
        problems.append("the victim was not served at all")
    if row.during.slowest > SLOWEST:
        problems.append(f"the victim waited {row.during.slowest:.2f} s")
    return problems


def fat(row: report.Row) -> list[str]:
    """Services that took more memory than their pod has."""
    return [
        f"{service} took {size >> 20} MiB of {LIMITS[service] >> 20}"
        for service, size in row.peaks.items()
        if size > LIMITS[service]
    ]


def served(attack: Attack, row: report.Row) -> list[str]:
    """What the attacker got that is neither a refusal nor right."""
    problems = [f"the attacker got {what}, {count} times" for what, count in attack.unexpected(row.outcomes).items()]
    if not counted(row.outcomes):
        problems.append("the attack did nothing")
    if not attack.served and not attack.refused(row.outcomes):
        problems.append("no request of the attacker was refused")
    return problems
