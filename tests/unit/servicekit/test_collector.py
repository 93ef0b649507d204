"""What a process that serves leaves to Python's collector; in a process of its own, since it cannot be undone."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc
from servicekit.process.collector import THRESHOLDS, settle_collector
settle_collector()
assert gc.get_threshold() == THRESHOLDS
assert gc.get_freeze_count() > 1000
class Node: pass
node = Node(); node.itself = node; del node
assert gc.collect() >= 1, "cycles that come later are still found"
"""


def test_what_is_there_when_it_serves_is_not_looked_at_again() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
