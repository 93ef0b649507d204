"""The API key in an Authorization header."""

from __future__ import annotations

from common import key_format
from services.edge.serving.errors import CredentialFault, CredentialInvalid

SCHEME = "bearer "
MAX_KEY = 200  # characters of a credential that are looked at


def key_of(authorization: str | None) -> str:
    """The key in "Bearer <key>" (RFC 6750; the scheme's case is free). Raises CredentialInvalid."""
    if not authorization:
        raise CredentialInvalid(CredentialFault.MISSING)
    if authorization[: len(SCHEME)].lower() != SCHEME:
        raise CredentialInvalid(CredentialFault.SCHEME)
    key = authorization[len(SCHEME) :].strip()
    if not key.startswith(key_format.PREFIX) or len(key) > MAX_KEY:
        raise CredentialInvalid(CredentialFault.KEY)
    return key
