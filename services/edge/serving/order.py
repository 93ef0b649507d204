"""What an endpoint asks of serving: one answer."""

from __future__ import annotations

from dataclasses import dataclass

from muhgpt.inference.v1 import inference_pb2


@dataclass(frozen=True, slots=True)
class AnswerOrder:
    """What is asked, with everything that the peers need to know."""

    request: inference_pb2.ChatRequest  # for the canonical model
    alias: str  # the model's name as the client has it
    max_tokens: int | None  # per choice; None: what the model's context leaves
    choices: int
    streamed: bool  # each batch is written as it comes; else the answer whole at its end
    request_id: str
    deadline: float  # monotonic seconds
