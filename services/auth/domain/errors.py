"""Everything that auth refuses, by the reasons that auth.proto promises."""

from __future__ import annotations

from common.reasons import Reason
from servicekit.errors import DomainError, Kind


class KeyUnknown(DomainError):
    """No key has the digest that an edge asked for."""

    kind = Kind.UNAUTHENTICATED
    reason = Reason.KEY_UNKNOWN


class KeyRevoked(DomainError):
    """The key was revoked, for ever."""

    kind = Kind.UNAUTHENTICATED
    reason = Reason.KEY_REVOKED


class KeyExpired(DomainError):
    """The key's expiry date has passed."""

    kind = Kind.UNAUTHENTICATED
    reason = Reason.KEY_EXPIRED


class AccountSuspended(DomainError):
    """The key is good, its account is not."""

    kind = Kind.UNAUTHENTICATED
    reason = Reason.ACCOUNT_SUSPENDED


class DigestMalformed(DomainError):
    """A digest that cannot be a SHA-256."""

    kind = Kind.INVALID
    reason = "DIGEST_MALFORMED"


class AccountUnknown(DomainError):
    """No account has this id or email."""

    kind = Kind.NOT_FOUND
    reason = "ACCOUNT_UNKNOWN"


class KeyNotFound(DomainError):
    """No key has this id; the same reason as KeyUnknown, for operators."""

    kind = Kind.NOT_FOUND
    reason = Reason.KEY_UNKNOWN


class EmailTaken(DomainError):
    """Another account has this email."""

    kind = Kind.ALREADY_EXISTS
    reason = "EMAIL_TAKEN"


class EmailMalformed(DomainError):
    """Not one email address."""

    kind = Kind.INVALID
    reason = "EMAIL_MALFORMED"


class LimitOutOfRange(DomainError):
    """A limit, a size or an instant outside its documented range; metadata `field` names it."""

    kind = Kind.INVALID
    reason = "LIMIT_OUT_OF_RANGE"


class ExpiryInPast(DomainError):
    """A key that would never work."""

    kind = Kind.INVALID
    reason = "EXPIRY_IN_PAST"


class NameTooLong(DomainError):
    """A key's name beyond its length."""

    kind = Kind.INVALID
    reason = "NAME_TOO_LONG"


class TextMalformed(DomainError):
    """A name or model alias with characters that nobody can see; metadata `field` names it."""

    kind = Kind.INVALID
    reason = "TEXT_MALFORMED"


class TooManyKeys(DomainError):
    """The account has all the active keys that it may have."""

    kind = Kind.EXHAUSTED
    reason = "TOO_MANY_KEYS"


class PageTokenMalformed(DomainError):
    """A page token that no answer has given."""

    kind = Kind.INVALID
    reason = "PAGE_TOKEN_MALFORMED"


class HelloExpected(DomainError):
    """A stream that does not begin with a usable Hello."""

    kind = Kind.INVALID
    reason = "HELLO_EXPECTED"


class AckOutOfRange(DomainError):
    """An edge that acknowledges what it was never sent."""

    kind = Kind.INVALID
    reason = "ACK_OUT_OF_RANGE"


class SessionLapsed(DomainError):
    """Auth no longer waits for this session, so the edge must begin a new one with an empty cache."""

    kind = Kind.UNAVAILABLE
    reason = "SESSION_LAPSED"


class RevocationUnconfirmed(DomainError):
    """The change is stored, but an edge that is alive has not confirmed it. Repeating the call waits again."""

    kind = Kind.DEADLINE
    reason = "REVOCATION_UNCONFIRMED"
