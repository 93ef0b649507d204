"""What the engines of a process are built from beside their entries in the model list."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from servicekit.clock import Clock
from servicekit.timer_wheel import TimerWheel
from services.inference.engines.upstream.tokens.processes import CountingProcesses
from services.inference.settings import InferenceSettings


@dataclass(frozen=True)
class Shared:
    """One for all engines of the process."""

    settings: InferenceSettings
    clock: Clock
    timers: TimerWheel
    processes: CountingProcesses


def new_call_id() -> str:
    """A new id of a tool call."""
    return f"call_{secrets.token_hex(12)}"
