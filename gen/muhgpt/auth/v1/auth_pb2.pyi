import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from muhgpt.options.v1 import callers_pb2 as _callers_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Principal(_message.Message):
    __slots__ = ("account_id", "key_id", "account_version", "key_version", "requests_per_minute", "max_open_streams", "monthly_credit_limit", "allowed_models", "expires_at", "key_requests_per_minute")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    MAX_OPEN_STREAMS_FIELD_NUMBER: _ClassVar[int]
    MONTHLY_CREDIT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    KEY_REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    key_id: str
    account_version: int
    key_version: int
    requests_per_minute: int
    max_open_streams: int
    monthly_credit_limit: int
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    expires_at: _timestamp_pb2.Timestamp
    key_requests_per_minute: int
    def __init__(self, account_id: _Optional[str] = ..., key_id: _Optional[str] = ..., account_version: _Optional[int] = ..., key_version: _Optional[int] = ..., requests_per_minute: _Optional[int] = ..., max_open_streams: _Optional[int] = ..., monthly_credit_limit: _Optional[int] = ..., allowed_models: _Optional[_Iterable[str]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., key_requests_per_minute: _Optional[int] = ...) -> None: ...

class AuthenticateRequest(_message.Message):
    __slots__ = ("key_digest",)
    KEY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    key_digest: bytes
    def __init__(self, key_digest: _Optional[bytes] = ...) -> None: ...

class AuthenticateResponse(_message.Message):
    __slots__ = ("principal", "as_of_sequence")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    AS_OF_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    principal: Principal
    as_of_sequence: int
    def __init__(self, principal: _Optional[_Union[Principal, _Mapping]] = ..., as_of_sequence: _Optional[int] = ...) -> None: ...

class WatchKeysRequest(_message.Message):
    __slots__ = ("hello", "ack", "heartbeat")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    hello: WatchHello
    ack: Ack
    heartbeat: WatchHeartbeat
    def __init__(self, hello: _Optional[_Union[WatchHello, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., heartbeat: _Optional[_Union[WatchHeartbeat, _Mapping]] = ...) -> None: ...

class WatchHello(_message.Message):
    __slots__ = ("session_id", "edge_name", "last_sequence", "cache_mark", "last_session_id")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EDGE_NAME_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CACHE_MARK_FIELD_NUMBER: _ClassVar[int]
    LAST_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    edge_name: str
    last_sequence: int
    cache_mark: str
    last_session_id: bytes
    def __init__(self, session_id: _Optional[bytes] = ..., edge_name: _Optional[str] = ..., last_sequence: _Optional[int] = ..., cache_mark: _Optional[str] = ..., last_session_id: _Optional[bytes] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class WatchHeartbeat(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class WatchKeysResponse(_message.Message):
    __slots__ = ("welcome", "change", "heartbeat", "draining")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    welcome: WatchWelcome
    change: KeyChange
    heartbeat: WatchHeartbeat
    draining: WatchDraining
    def __init__(self, welcome: _Optional[_Union[WatchWelcome, _Mapping]] = ..., change: _Optional[_Union[KeyChange, _Mapping]] = ..., heartbeat: _Optional[_Union[WatchHeartbeat, _Mapping]] = ..., draining: _Optional[_Union[WatchDraining, _Mapping]] = ...) -> None: ...

class WatchWelcome(_message.Message):
    __slots__ = ("session_ttl", "heartbeat_interval", "sequence", "features", "cache_mark")
    SESSION_TTL_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    CACHE_MARK_FIELD_NUMBER: _ClassVar[int]
    session_ttl: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    sequence: int
    features: _containers.RepeatedScalarFieldContainer[str]
    cache_mark: str
    def __init__(self, session_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., sequence: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ..., cache_mark: _Optional[str] = ...) -> None: ...

class WatchDraining(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class KeyChange(_message.Message):
    __slots__ = ("sequence", "kind", "account_id", "key_id")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[KeyChange.Kind]
        KIND_KEY_REVOKED: _ClassVar[KeyChange.Kind]
        KIND_ACCOUNT_SUSPENDED: _ClassVar[KeyChange.Kind]
        KIND_ACCOUNT_UPDATED: _ClassVar[KeyChange.Kind]
    KIND_UNSPECIFIED: KeyChange.Kind
    KIND_KEY_REVOKED: KeyChange.Kind
    KIND_ACCOUNT_SUSPENDED: KeyChange.Kind
    KIND_ACCOUNT_UPDATED: KeyChange.Kind
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    kind: KeyChange.Kind
    account_id: str
    key_id: str
    def __init__(self, sequence: _Optional[int] = ..., kind: _Optional[_Union[KeyChange.Kind, str]] = ..., account_id: _Optional[str] = ..., key_id: _Optional[str] = ...) -> None: ...

class Account(_message.Message):
    __slots__ = ("account_id", "email", "state", "requests_per_minute", "created_at")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Account.State]
        STATE_ACTIVE: _ClassVar[Account.State]
        STATE_SUSPENDED: _ClassVar[Account.State]
    STATE_UNSPECIFIED: Account.State
    STATE_ACTIVE: Account.State
    STATE_SUSPENDED: Account.State
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    email: str
    state: Account.State
    requests_per_minute: int
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, account_id: _Optional[str] = ..., email: _Optional[str] = ..., state: _Optional[_Union[Account.State, str]] = ..., requests_per_minute: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("key_id", "account_id", "name", "prefix", "last_four", "state", "monthly_credit_limit", "allowed_models", "created_at", "expires_at", "revoked_at", "requests_per_minute")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Key.State]
        STATE_ACTIVE: _ClassVar[Key.State]
        STATE_REVOKED: _ClassVar[Key.State]
        STATE_EXPIRED: _ClassVar[Key.State]
    STATE_UNSPECIFIED: Key.State
    STATE_ACTIVE: Key.State
    STATE_REVOKED: Key.State
    STATE_EXPIRED: Key.State
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    LAST_FOUR_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MONTHLY_CREDIT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    account_id: str
    name: str
    prefix: str
    last_four: str
    state: Key.State
    monthly_credit_limit: int
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    created_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    revoked_at: _timestamp_pb2.Timestamp
    requests_per_minute: int
    def __init__(self, key_id: _Optional[str] = ..., account_id: _Optional[str] = ..., name: _Optional[str] = ..., prefix: _Optional[str] = ..., last_four: _Optional[str] = ..., state: _Optional[_Union[Key.State, str]] = ..., monthly_credit_limit: _Optional[int] = ..., allowed_models: _Optional[_Iterable[str]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., requests_per_minute: _Optional[int] = ...) -> None: ...

class CreateAccountRequest(_message.Message):
    __slots__ = ("email", "requests_per_minute")
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    email: str
    requests_per_minute: int
    def __init__(self, email: _Optional[str] = ..., requests_per_minute: _Optional[int] = ...) -> None: ...

class CreateAccountResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: Account
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ...) -> None: ...

class GetAccountRequest(_message.Message):
    __slots__ = ("account_id", "email")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    email: str
    def __init__(self, account_id: _Optional[str] = ..., email: _Optional[str] = ...) -> None: ...

class GetAccountResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: Account
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ...) -> None: ...

class ListAccountsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAccountsResponse(_message.Message):
    __slots__ = ("accounts", "next_page_token")
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    accounts: _containers.RepeatedCompositeFieldContainer[Account]
    next_page_token: str
    def __init__(self, accounts: _Optional[_Iterable[_Union[Account, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CountAccountsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CountAccountsResponse(_message.Message):
    __slots__ = ("accounts",)
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    accounts: int
    def __init__(self, accounts: _Optional[int] = ...) -> None: ...

class UpdateAccountRequest(_message.Message):
    __slots__ = ("account_id", "requests_per_minute")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    requests_per_minute: int
    def __init__(self, account_id: _Optional[str] = ..., requests_per_minute: _Optional[int] = ...) -> None: ...

class UpdateAccountResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: Account
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ...) -> None: ...

class SuspendAccountRequest(_message.Message):
    __slots__ = ("account_id",)
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    def __init__(self, account_id: _Optional[str] = ...) -> None: ...

class SuspendAccountResponse(_message.Message):
    __slots__ = ("account", "sessions_timed_out")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    account: Account
    sessions_timed_out: int
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ..., sessions_timed_out: _Optional[int] = ...) -> None: ...

class ResumeAccountRequest(_message.Message):
    __slots__ = ("account_id",)
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    def __init__(self, account_id: _Optional[str] = ...) -> None: ...

class ResumeAccountResponse(_message.Message):
    __slots__ = ("account",)
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    account: Account
    def __init__(self, account: _Optional[_Union[Account, _Mapping]] = ...) -> None: ...

class CreateKeyRequest(_message.Message):
    __slots__ = ("account_id", "name", "monthly_credit_limit", "allowed_models", "expires_at", "requests_per_minute")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MONTHLY_CREDIT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_MODELS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    name: str
    monthly_credit_limit: int
    allowed_models: _containers.RepeatedScalarFieldContainer[str]
    expires_at: _timestamp_pb2.Timestamp
    requests_per_minute: int
    def __init__(self, account_id: _Optional[str] = ..., name: _Optional[str] = ..., monthly_credit_limit: _Optional[int] = ..., allowed_models: _Optional[_Iterable[str]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., requests_per_minute: _Optional[int] = ...) -> None: ...

class CreateKeyResponse(_message.Message):
    __slots__ = ("key", "secret")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    key: Key
    secret: str
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., secret: _Optional[str] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ("account_id", "page_size", "page_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    page_size: int
    page_token: str
    def __init__(self, account_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "next_page_token")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    next_page_token: str
    def __init__(self, keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RevokeKeyRequest(_message.Message):
    __slots__ = ("key_id",)
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    def __init__(self, key_id: _Optional[str] = ...) -> None: ...

class RevokeKeyResponse(_message.Message):
    __slots__ = ("key", "sessions_timed_out")
    KEY_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    key: Key
    sessions_timed_out: int
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., sessions_timed_out: _Optional[int] = ...) -> None: ...
