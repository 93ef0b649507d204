"""Python's cycle collector, told what a process that serves is like."""

from __future__ import annotations

import gc

# Objects more than were freed before the young are looked at, and how many such looks until the older ones' turn. The
# defaults (700, 10, 10) look at a thousand requests' objects a hundred times, though hardly any lies in a cycle.
THRESHOLDS = (20_000, 20, 50)


def settle_collector() -> None:
    """Call it once the process serves: what is there now stays to the end, and is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
