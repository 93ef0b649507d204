"""Which tests a run takes: CI has fifteen minutes, and what it leaves out has a named run of its own.

`make test` sets TEST_TIER=short, `make test-long` TEST_TIER=long; plain pytest takes what it is asked for. Tests marked
`long` repeat with other values, or at more cost, what a shorter test of the same guarantee asserts. Faults and attacks
have long forms of their own: `make faults` and `make hostile` run every one of them.

Within `make test`, TEST_PART says which part: attacks have the machine to themselves (`hostile`), since a client
measures beside them; faults have it for two clusters at a time (`faults`). Everything else, and those of both that are
marked `beside` because they measure no time, runs side by side (`beside`).
"""

from __future__ import annotations

from collections.abc import Set

STRESS = {"faults", "hostile"}


def runs(marks: Set[str], tier: str, part: str) -> bool:
    """Whether a test with these marks belongs to the run; an empty tier or part takes all."""
    return _in_tier(marks, tier) and _in_part(marks, part)


def _in_tier(marks: Set[str], tier: str) -> bool:
    if tier == "short":
        return "long" not in marks
    if tier == "long":
        return "long" in marks and not marks & STRESS
    return True


def _in_part(marks: Set[str], part: str) -> bool:
    if not part:
        return True
    own = "beside" if "beside" in marks else next((each for each in ("hostile", "faults") if each in marks), "beside")
    return part == own
