"""auth.proto's messages: to_… makes the domain's nouns of them, from_… makes them of the domain's nouns."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from muhgpt.auth.v1 import auth_pb2
from services.auth.domain.account import Account, AccountState
from services.auth.domain.change import Change, ChangeKind
from services.auth.domain.errors import LimitOutOfRange
from services.auth.domain.key import Key, KeyState, KeyTerms
from services.auth.domain.key_stream import Ack, Draining, Heartbeat, Hello, Incoming, Outgoing, Welcome
from services.auth.domain.principal import Defaults, Principal
from services.auth.domain.sessions import SessionPolicy
from services.auth.domain.store import Known

FEATURES = ("resume",)  # what the Welcome lists: a Hello's last_sequence is understood

MIN_SECONDS, MAX_SECONDS = -62_135_596_800, 253_402_300_799  # timestamp.proto: years 1 to 9999

ACCOUNT_STATES = {
    AccountState.ACTIVE: auth_pb2.Account.STATE_ACTIVE,
    AccountState.SUSPENDED: auth_pb2.Account.STATE_SUSPENDED,
}
KEY_STATES = {
    KeyState.ACTIVE: auth_pb2.Key.STATE_ACTIVE,
    KeyState.REVOKED: auth_pb2.Key.STATE_REVOKED,
    KeyState.EXPIRED: auth_pb2.Key.STATE_EXPIRED,
}
CHANGE_KINDS = {
    ChangeKind.KEY_REVOKED: auth_pb2.KeyChange.KIND_KEY_REVOKED,
    ChangeKind.ACCOUNT_SUSPENDED: auth_pb2.KeyChange.KIND_ACCOUNT_SUSPENDED,
    ChangeKind.ACCOUNT_UPDATED: auth_pb2.KeyChange.KIND_ACCOUNT_UPDATED,
}


def to_optional(message: Message, field: str) -> int | None:
    """An optional number's value, or None when it is absent."""
    return getattr(message, field) if message.HasField(field) else None


def to_terms(request: auth_pb2.CreateKeyRequest) -> KeyTerms:
    """What a CreateKey asks for; repeated models count once. Raises LimitOutOfRange for an impossible expires_at."""
    return KeyTerms(
        name=request.name,
        monthly_credit_limit=to_optional(request, "monthly_credit_limit"),
        allowed_models=tuple(dict.fromkeys(request.allowed_models)),
        expires_us=_to_us(request.expires_at) if request.HasField("expires_at") else None,
        requests_per_minute=to_optional(request, "requests_per_minute"),
    )


def from_account(account: Account) -> auth_pb2.Account:
    """An account as operators see it."""
    return auth_pb2.Account(
        account_id=account.account_id,
        email=account.email,
        state=ACCOUNT_STATES[account.state],
        requests_per_minute=account.requests_per_minute,
        created_at=_timestamp(account.created_us),
    )


def from_key(key: Key, now_us: int) -> auth_pb2.Key:
    """A key as operators see it at an instant."""
    return auth_pb2.Key(
        key_id=key.key_id,
        account_id=key.account_id,
        name=key.terms.name,
        prefix=key.prefix,
        last_four=key.last_four,
        state=KEY_STATES[key.state(now_us)],
        monthly_credit_limit=key.terms.monthly_credit_limit,
        allowed_models=key.terms.allowed_models,
        requests_per_minute=key.terms.requests_per_minute,
        created_at=_timestamp(key.created_us),
        expires_at=_timestamp(key.terms.expires_us),
        revoked_at=_timestamp(key.revoked_us),
    )


def from_principal(principal: Principal) -> auth_pb2.Principal:
    """A principal as edges see it."""
    terms = principal.key.terms
    return auth_pb2.Principal(
        account_id=principal.account.account_id,
        key_id=principal.key.key_id,
        account_version=principal.account.version,
        key_version=principal.key.version,
        requests_per_minute=principal.requests_per_minute,
        max_open_streams=principal.max_open_streams,
        monthly_credit_limit=terms.monthly_credit_limit,
        allowed_models=terms.allowed_models,
        expires_at=_timestamp(terms.expires_us),
        key_requests_per_minute=terms.requests_per_minute,
    )


async def to_incoming(requests: AsyncIterator[auth_pb2.WatchKeysRequest]) -> AsyncIterator[Incoming]:
    """The edge's side of a WatchKeys stream."""
    async for request in requests:
        match request.WhichOneof("message"):
            case "hello":
                yield _to_hello(request.hello)
            case "ack":
                yield Ack(request.ack.sequence)
            case "heartbeat":
                yield Heartbeat(request.heartbeat.number)
            case _:  # a newer edge's message
                yield None


def _to_hello(hello: auth_pb2.WatchHello) -> Hello:
    known = Known(hello.last_sequence, hello.last_session_id.hex()) if hello.HasField("last_sequence") else None
    return Hello(hello.session_id, hello.edge_name, known, hello.cache_mark)


def cache_mark(defaults: Defaults) -> str:
    """Changes with everything but rows that a principal is made of; an edge's cache is then useless."""
    fields = sorted(field.number for field in auth_pb2.Principal.DESCRIPTOR.fields)
    return f"{defaults.requests_per_minute}/{defaults.max_open_streams}/{','.join(map(str, fields))}"


def from_outgoing(message: Outgoing, policy: SessionPolicy, mark: str) -> auth_pb2.WatchKeysResponse:
    """Auth's side of a WatchKeys stream; `mark` is what cache_mark() made."""
    response = auth_pb2.WatchKeysResponse()
    match message:
        case Welcome(sequence):
            response.welcome.sequence = sequence
            response.welcome.features.extend(FEATURES)
            response.welcome.cache_mark = mark
            response.welcome.session_ttl.FromMilliseconds(round(policy.ttl * 1e3))
            response.welcome.heartbeat_interval.FromMilliseconds(round(policy.heartbeat_interval * 1e3))
        case Change(sequence, kind, account_id, key_id):
            response.change.sequence = sequence
            response.change.kind = CHANGE_KINDS[kind]
            response.change.account_id = account_id
            response.change.key_id = key_id
        case Heartbeat(number):
            response.heartbeat.number = number
        case Draining():
            response.draining.SetInParent()
    return response


def _timestamp(microseconds: int | None) -> Timestamp | None:
    if microseconds is None:
        return None
    timestamp = Timestamp()
    timestamp.FromMicroseconds(microseconds)
    return timestamp


def _to_us(timestamp: Timestamp) -> int:
    if not (MIN_SECONDS <= timestamp.seconds <= MAX_SECONDS and 0 <= timestamp.nanos < 1_000_000_000):
        raise LimitOutOfRange("expires_at is not an instant between the years 1 and 9999", field="expires_at")
    return timestamp.seconds * 1_000_000 + timestamp.nanos // 1_000
