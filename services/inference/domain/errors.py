"""What can go wrong with a generation, as nouns. `reason` is a name of the proto's Failed.Reason."""

from __future__ import annotations

from common.reasons import Reason
from servicekit.errors import DomainError, Kind

ENGINE_DIED = "engine_died"  # of an error's metadata (protos/muhgpt/inference/v1, Failed.engine_died)


class InvalidRequest(DomainError):
    """The request itself is wrong; message and param may be shown to the client."""

    kind = Kind.INVALID
    reason = Reason.INVALID_REQUEST

    def __init__(self, message: str, *, param: str = "") -> None:
        super().__init__(message, param=param)
        self.param = param


class ImageNotSupported(InvalidRequest):
    """The model cannot take images."""

    reason = Reason.IMAGE_NOT_SUPPORTED


class InvalidImage(InvalidRequest):
    """An image's file is damaged, of another kind than we read, or beyond the bounds; `param` names it."""

    reason = Reason.INVALID_IMAGE


class InvalidImageUrl(InvalidRequest):
    """An image's URL is malformed, not allowed, or could not be downloaded; `param` names it."""

    reason = Reason.INVALID_IMAGE_URL


class ContextTooLong(InvalidRequest):
    """The prompt and one token do not fit the model's context."""

    reason = Reason.CONTEXT_TOO_LONG

    def __init__(self, prompt_tokens: int, context_length: int, *, at_least: bool = False) -> None:
        """`at_least`: the prompt is so long that it was not counted."""
        take = f"take at least {prompt_tokens}" if at_least else f"take {prompt_tokens}"
        super().__init__(
            f"This model's context is {context_length} tokens, but the messages {take} and an answer"
            " needs at least 1 more. Shorten the messages.",
            param="messages",
        )


class ContextExceeded(ContextTooLong):
    """The server that runs the model has too little context for the prompt and the answer that was asked for."""

    def __init__(self, prompt_tokens: int, context_length: int) -> None:
        InvalidRequest.__init__(
            self,
            f"This model's context is {context_length} tokens: the messages (about {prompt_tokens}) and the answer do"
            " not fit. Shorten the messages or ask for a shorter answer.",
            param="messages",
        )


class ModelUnknown(DomainError):
    """No model of the list has this id or alias."""

    kind = Kind.NOT_FOUND
    reason = Reason.MODEL_UNKNOWN

    def __init__(self, model: str) -> None:
        super().__init__(f"the model {model!r} is not in the model list")


class EngineUnavailable(DomainError):
    """The engine does not answer, died, or answered nonsense."""

    kind = Kind.UNAVAILABLE
    reason = Reason.ENGINE_UNAVAILABLE


class EngineDied(EngineUnavailable):
    """The engine's process died under this request before it gave anything: it may be why, and goes nowhere else."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.metadata[ENGINE_DIED] = "true"


class TargetFailed(EngineUnavailable):
    """One target of a model failed; another may answer. `outcome` is a fixed word for metrics.

    `pause`: seconds for which the target asked not to be called (429 with Retry-After). `healthy`: what failed lies in
    this one request, so nothing is tried again and the target's health is not in question.
    """

    def __init__(self, message: str, outcome: str, *, pause: float | None = None, healthy: bool = False) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.pause = pause
        self.healthy = healthy


class Overloaded(DomainError):
    """A bounded queue is full. `retry_after` is in seconds."""

    kind = Kind.EXHAUSTED
    reason = Reason.OVERLOADED

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)


class DeadlineExceeded(DomainError):
    """The request's time is over."""

    kind = Kind.DEADLINE
    reason = Reason.DEADLINE_EXCEEDED


class HelloExpected(DomainError):
    """A session's first message was not its hello, or none came in time."""

    kind = Kind.INVALID
    reason = "HELLO_EXPECTED"


class Defect(DomainError):
    """A defect of ours: what happened is in the log, not in the answer."""

    kind = Kind.UNAVAILABLE
    reason = Reason.INTERNAL
