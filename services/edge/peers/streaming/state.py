"""What one stream of this worker is doing, for logs and for tests that wait until something is so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamState:
    """One stream, at one moment."""

    peer: str  # auth, quota or inference
    home: str  # address of the replica whose work it carries
    at: str  # address of the replica where it is, or will be next
    up: bool  # it is open and was welcomed
    usable: bool  # it is up and takes new work; of inference, its models are known
    load: int = 0  # holds without an acknowledged end, or generations
