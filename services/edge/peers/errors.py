"""What can go wrong between a request and its answer, as nouns: peers and serving raise them and know no HTTP.

    Failure
    ├── Unauthenticated         the key does not admit the request
    │   └── KeyRefused          … as auth, or its expiry date, says
    ├── KeyRevoked              auth took the key back while the answer ran
    ├── Refused                 quota admits no such request
    ├── QueryRefused            quota cannot answer such a question
    ├── GenerationFailed        inference reported a failure
    ├── Unavailable             a service did not answer, or what it said may not be trusted now
    ├── TooManyHolds            quota owes this edge too many acknowledgements
    └── Unexplained             a service failed in a way that no contract names

serving/errors.py has the failures of the edge itself. endpoints/errors.py turns each into what the client sees.
"""

from __future__ import annotations

from enum import StrEnum

from common.reasons import Reason
from services.edge.peers.quota.rate_window import Limit, RateWindow


class Service(StrEnum):
    """The services behind the edge."""

    AUTH = "auth"
    QUOTA = "quota"
    INFERENCE = "inference"


class Failure(Exception):
    """Base of all. `name` is for logs and spans."""

    name = "failure"

    def __str__(self) -> str:
        return self.name


class Unauthenticated(Failure):
    """The request has no key that admits it."""

    name = "unauthenticated"


class KeyRefused(Unauthenticated):
    """The key is unknown, revoked or expired, or its account is suspended."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason
        self.name = reason.lower()


class KeyRevoked(Failure):
    """The key was revoked, or its account suspended, while its answer was opened or running."""

    name = "key_revoked"


class Refused(Failure):
    """Quota refuses a reservation. `retry_after` is in seconds, `window` where the account stands."""

    def __init__(
        self,
        reason: Reason,
        *,
        limit: Limit | None = None,
        retry_after: float | None = None,
        window: RateWindow | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.limit = limit  # which one refused; None when quota does not name it
        self.retry_after = retry_after
        self.window = window
        self.name = reason.lower()


class QueryRefused(Failure):
    """A range of days, or a page's cursor, that quota cannot answer for."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason
        self.name = reason.lower()


class GenerationFailed(Failure):
    """Inference could not prepare or generate. `message` and `param` are meant for the client.

    `spent` is what the refusal cost inference, in seconds of CPU, when it says so; `retry_after` is in seconds.
    """

    def __init__(
        self,
        reason: Reason,
        message: str = "",
        param: str | None = None,
        *,
        retry_after: float | None = None,
        spent: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.spent = spent
        self.name = reason.lower()


class Unavailable(Failure):
    """The service did not answer in time, is away, or is not trusted now."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.service = service
        self.name = f"{service}_unavailable"


class TooManyHolds(Failure):
    """As many holds of this edge wait for quota's acknowledgement as may."""

    name = "too_many_holds"


class Unexplained(Failure):
    """The edge itself did something wrong, or the service is broken."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self.service = service
        self.name = f"{service}_unexplained"
