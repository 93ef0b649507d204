"""The one switch from failures, as peers and serving raise them, to what the client sees (docs/wire.md)."""

from __future__ import annotations

from common.reasons import Reason
from services.edge.http.errors import ApiError
from services.edge.peers.errors import (
    Failure,
    GenerationFailed,
    KeyRefused,
    KeyRevoked,
    QueryRefused,
    Refused,
    Service,
    TooManyHolds,
    Unavailable,
)
from services.edge.peers.quota.rate_window import Limit
from services.edge.serving.errors import (
    CredentialFault,
    CredentialInvalid,
    DeadlineExceeded,
    ModelNotAllowed,
    ModelsUnknown,
    ModelUnknown,
    Restarting,
    TooManyAnswers,
)

_CREDENTIAL_FAULTS = {
    CredentialFault.MISSING: "No API key provided. Send it as: Authorization: Bearer mghp_…",
    CredentialFault.SCHEME: "The Authorization header must be: Bearer, a space, and the API key.",
    CredentialFault.KEY: "Incorrect API key provided. Keys start with mghp_.",
}
_KEYS = {
    Reason.KEY_UNKNOWN: "Incorrect API key provided.",
    Reason.KEY_REVOKED: "This API key was revoked.",
    Reason.KEY_EXPIRED: "This API key has expired.",
    Reason.ACCOUNT_SUSPENDED: "The account of this API key is suspended.",
}
# Reason of inference: the text when it gave none, `param` when it named none, `code`.
_REQUEST_FAULTS: dict[Reason, tuple[str, str | None, str | None]] = {
    Reason.INVALID_REQUEST: ("The model cannot take this request.", None, None),
    Reason.CONTEXT_TOO_LONG: ("The prompt is longer than the model's context.", "messages", "context_length_exceeded"),
    Reason.IMAGE_NOT_SUPPORTED: ("This model cannot take images.", "messages", "image_not_supported"),
    Reason.INVALID_IMAGE: ("An image cannot be read.", None, "invalid_image"),
    Reason.INVALID_IMAGE_URL: ("An image cannot be downloaded.", None, "invalid_image_url"),
}


def to_api_error(failure: Failure) -> ApiError:
    """What this failure is to the client; a 500 for what no row names."""
    match failure:
        case CredentialInvalid():
            return ApiError.invalid_api_key(_CREDENTIAL_FAULTS[failure.fault])
        case KeyRefused():
            return ApiError.invalid_api_key(_KEYS[failure.reason])
        case KeyRevoked():
            return ApiError.key_revoked()
        case ModelUnknown():
            return ApiError.model_not_found(failure.alias)
        case ModelNotAllowed():
            return ApiError.model_not_allowed(failure.alias)
        case Refused():
            return _refused(failure)
        case QueryRefused():
            return _query_refused(failure)
        case GenerationFailed():
            return _generation_failed(failure)
        case TooManyAnswers():
            return ApiError.too_many_streams(failure.limit)
        case _:
            return _unavailable(failure)


def _unavailable(failure: Failure) -> ApiError:
    match failure:
        case Unavailable(service=Service.AUTH):
            return ApiError.service_unavailable("API keys cannot be checked at the moment. Try again.")
        case Unavailable(service=Service.QUOTA):
            return ApiError.service_unavailable("Credits cannot be checked at the moment. Try again.")
        case Unavailable():
            return ApiError.upstream_error()
        case ModelsUnknown():
            return ApiError.service_unavailable("The models are not known yet. Try again.", retry_after=1.0)
        case Restarting():
            text = "The service is restarting. Try again."
            return ApiError.service_unavailable(text, retry_after=failure.retry_after)
        case TooManyHolds():
            return ApiError.too_many_answers()
        case DeadlineExceeded():
            return ApiError.deadline_exceeded()
        case _:
            return ApiError.internal()


def _refused(refused: Refused) -> ApiError:
    retry_after = refused.retry_after or 0.0
    match refused.reason:
        case Reason.RATE_LIMITED:
            requests = refused.window.limit if refused.window else None
            return ApiError.rate_limited(retry_after, requests, of_key=refused.limit is Limit.KEY)
        case Reason.INSUFFICIENT_CREDITS:
            return ApiError.insufficient_credits()
        case Reason.KEY_LIMIT_REACHED:
            return ApiError.key_limit_reached()
        case Reason.LOSSES_TOO_HIGH:
            text = "Your requests have caused too much work today that was not charged."
            return ApiError.refused_too_often(retry_after, text)
        case Reason.NO_PRICE:
            return ApiError.service_unavailable("This model has no price at the moment, so it cannot be used.")
        case Reason.UNAVAILABLE:
            return _unavailable(Unavailable(Service.QUOTA))
        case _:  # HOLD_CONFLICT, HOLD_ENDED, INVALID: the edge itself did something wrong
            return ApiError.internal()


def _query_refused(refused: QueryRefused) -> ApiError:
    if refused.reason is Reason.RANGE_INVALID:
        return ApiError.invalid("The range of days is not valid.", param="start")
    return ApiError.invalid("'after' is not the id of a charge of this account.", param="after")


def _generation_failed(failed: GenerationFailed) -> ApiError:
    if failed.reason in _REQUEST_FAULTS:
        text, param, code = _REQUEST_FAULTS[failed.reason]
        return ApiError.invalid(failed.message or text, param=failed.param or param, code=code)
    match failed.reason:
        case Reason.ENGINE_UNAVAILABLE | Reason.MODEL_UNKNOWN:
            # The alias was known a moment ago: this replica has not got the model (any more), so a retry may find one.
            return ApiError.upstream_error()
        case Reason.OVERLOADED:
            return ApiError.overloaded(failed.retry_after or 1.0)
        case Reason.DEADLINE_EXCEEDED:
            return ApiError.deadline_exceeded()
        case _:
            return ApiError.internal()
