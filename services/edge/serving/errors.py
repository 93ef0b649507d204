"""What can go wrong with a request in the edge itself, as nouns (peers/errors.py has those of the peers)."""

from __future__ import annotations

from enum import Enum

from services.edge.peers.errors import Failure, Unauthenticated


class CredentialFault(Enum):
    """What is wrong with the Authorization header."""

    MISSING = "missing"
    SCHEME = "scheme"
    KEY = "key"


class CredentialInvalid(Unauthenticated):
    """No key can be read from the Authorization header."""

    name = "credential_invalid"

    def __init__(self, fault: CredentialFault) -> None:
        super().__init__(fault.value)
        self.fault = fault


class ModelUnknown(Failure):
    """No model has this alias."""

    name = "model_unknown"

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.alias = alias


class ModelNotAllowed(Failure):
    """The model is not in the key's allow-list."""

    name = "model_not_allowed"

    def __init__(self, alias: str) -> None:
        super().__init__(alias)
        self.alias = alias


class ModelsUnknown(Failure):
    """Inference has never told its models to this edge."""

    name = "models_unknown"


class TooManyAnswers(Failure):
    """The account has its bound of answers open."""

    name = "too_many_answers"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


class DeadlineExceeded(Failure):
    """The request's whole time is over."""

    name = "deadline_exceeded"


class Restarting(Failure):
    """This edge is draining. `retry_after` in seconds; None for an answer that was cut."""

    name = "restarting"

    def __init__(self, retry_after: float | None = None) -> None:
        super().__init__()
        self.retry_after = retry_after
