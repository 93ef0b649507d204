"""Ending a request at its peers: the engine stops, and the charge is handed to the quota stream's own task.

Plain functions that never wait, so no cancellation can come between the two.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.edge.peers.inference.generation import Generation
from services.edge.peers.quota.hold import Hold
from services.edge.serving import metrics


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request pays. `prompt_tokens` 0, `estimated` None: as reserved."""

    output_tokens: int
    prompt_tokens: int = 0
    unconfirmed: bool = False  # the answer is still to be written
    estimated: bool | None = None
    abandoned: bool = False  # the client left, or the engine gave up what it had held back


def charge_of_leaving(generation: Generation | None, hold: Hold | None) -> Charge:
    """A client that leaves pays for what was generated within its hold (G4)."""
    received = generation.received + generation.withheld if generation is not None else 0
    covered = hold.covered if hold is not None else 0
    worked = generation is not None and generation.go_written
    return Charge(min(received, covered), abandoned=worked)


def charge_of_failing(generation: Generation | None, written: int) -> Charge:
    """What an engine held back and then gave up (a forced call that failed its check, which a client can bring about)
    is in the loss book."""
    given_up = generation is not None and generation.withheld > 0 and generation.failed
    return Charge(written, abandoned=given_up)


def end_at_peers(generation: Generation | None, hold: Hold | None, charge: Charge, prompt_tokens: int) -> None:
    """Stops the engine and charges. `prompt_tokens` is how the prompt was counted, for the metrics."""
    if generation is not None:
        generation.leave()
    if hold is not None:
        hold.settle(
            charge.output_tokens,
            charge.prompt_tokens,
            unconfirmed=charge.unconfirmed,
            estimated=charge.estimated,
            abandoned=charge.abandoned,
        )
    if charge.output_tokens:
        metrics.PROMPT_TOKENS.inc(prompt_tokens)
        metrics.OUTPUT_TOKENS.inc(charge.output_tokens)


def forget_output(generation: Generation | None, hold: Hold | None) -> None:
    """Nothing more will be taken: a hold that waits for quota must not keep the answer's output in memory."""
    if generation is not None:
        generation.discard()
    if hold is not None:
        hold.forget_request()
