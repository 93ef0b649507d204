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

class SessionRequest(_message.Message):
    __slots__ = ("hello", "operations", "heartbeat")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    hello: SessionHello
    operations: Operations
    heartbeat: SessionHeartbeat
    def __init__(self, hello: _Optional[_Union[SessionHello, _Mapping]] = ..., operations: _Optional[_Union[Operations, _Mapping]] = ..., heartbeat: _Optional[_Union[SessionHeartbeat, _Mapping]] = ...) -> None: ...

class SessionHello(_message.Message):
    __slots__ = ("session_id", "edge_name", "features")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EDGE_NAME_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    edge_name: str
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, session_id: _Optional[bytes] = ..., edge_name: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class SessionHeartbeat(_message.Message):
    __slots__ = ("number",)
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    number: int
    def __init__(self, number: _Optional[int] = ...) -> None: ...

class Operations(_message.Message):
    __slots__ = ("operations",)
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("hold_id", "reserve", "progress", "settle", "release", "confirm", "traceparent")
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SETTLE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    hold_id: bytes
    reserve: Reserve
    progress: Progress
    settle: Settle
    release: Release
    confirm: Confirm
    traceparent: str
    def __init__(self, hold_id: _Optional[bytes] = ..., reserve: _Optional[_Union[Reserve, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., settle: _Optional[_Union[Settle, _Mapping]] = ..., release: _Optional[_Union[Release, _Mapping]] = ..., confirm: _Optional[_Union[Confirm, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class Reserve(_message.Message):
    __slots__ = ("account_id", "key_id", "model", "prompt_tokens", "max_tokens", "choices", "account_version", "key_version", "requests_per_minute", "monthly_credit_limit", "key_requests_per_minute", "estimated", "endpoint", "member_id", "request_id", "idempotency")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    MONTHLY_CREDIT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    KEY_REQUESTS_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    key_id: str
    model: str
    prompt_tokens: int
    max_tokens: int
    choices: int
    account_version: int
    key_version: int
    requests_per_minute: int
    monthly_credit_limit: int
    key_requests_per_minute: int
    estimated: bool
    endpoint: str
    member_id: str
    request_id: str
    idempotency: str
    def __init__(self, account_id: _Optional[str] = ..., key_id: _Optional[str] = ..., model: _Optional[str] = ..., prompt_tokens: _Optional[int] = ..., max_tokens: _Optional[int] = ..., choices: _Optional[int] = ..., account_version: _Optional[int] = ..., key_version: _Optional[int] = ..., requests_per_minute: _Optional[int] = ..., monthly_credit_limit: _Optional[int] = ..., key_requests_per_minute: _Optional[int] = ..., estimated: _Optional[bool] = ..., endpoint: _Optional[str] = ..., member_id: _Optional[str] = ..., request_id: _Optional[str] = ..., idempotency: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("delivered_tokens", "generated_tokens", "prompt_tokens")
    DELIVERED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    GENERATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    delivered_tokens: int
    generated_tokens: int
    prompt_tokens: int
    def __init__(self, delivered_tokens: _Optional[int] = ..., generated_tokens: _Optional[int] = ..., prompt_tokens: _Optional[int] = ...) -> None: ...

class Settle(_message.Message):
    __slots__ = ("output_tokens", "prompt_tokens", "unconfirmed", "estimated", "produced", "end_reason", "first_token_ms", "cached_tokens", "input_units", "output_units")
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    UNCONFIRMED_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    PRODUCED_FIELD_NUMBER: _ClassVar[int]
    END_REASON_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_UNITS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_UNITS_FIELD_NUMBER: _ClassVar[int]
    output_tokens: int
    prompt_tokens: int
    unconfirmed: bool
    estimated: bool
    produced: bool
    end_reason: str
    first_token_ms: int
    cached_tokens: int
    input_units: Units
    output_units: Units
    def __init__(self, output_tokens: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., unconfirmed: _Optional[bool] = ..., estimated: _Optional[bool] = ..., produced: _Optional[bool] = ..., end_reason: _Optional[str] = ..., first_token_ms: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., input_units: _Optional[_Union[Units, _Mapping]] = ..., output_units: _Optional[_Union[Units, _Mapping]] = ...) -> None: ...

class Units(_message.Message):
    __slots__ = ("kind", "quantity")
    KIND_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    kind: str
    quantity: int
    def __init__(self, kind: _Optional[str] = ..., quantity: _Optional[int] = ...) -> None: ...

class Confirm(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Release(_message.Message):
    __slots__ = ("abandoned",)
    ABANDONED_FIELD_NUMBER: _ClassVar[int]
    abandoned: bool
    def __init__(self, abandoned: _Optional[bool] = ...) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("welcome", "outcomes", "heartbeat", "draining")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    welcome: SessionWelcome
    outcomes: Outcomes
    heartbeat: SessionHeartbeat
    draining: SessionDraining
    def __init__(self, welcome: _Optional[_Union[SessionWelcome, _Mapping]] = ..., outcomes: _Optional[_Union[Outcomes, _Mapping]] = ..., heartbeat: _Optional[_Union[SessionHeartbeat, _Mapping]] = ..., draining: _Optional[_Union[SessionDraining, _Mapping]] = ...) -> None: ...

class SessionWelcome(_message.Message):
    __slots__ = ("lease", "heartbeat_interval", "window_tokens", "features")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    lease: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    window_tokens: int
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., window_tokens: _Optional[int] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...

class SessionDraining(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Outcomes(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("hold_id", "reserved", "progressed", "settled", "released", "refused", "confirmed")
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    PROGRESSED_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    RELEASED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    hold_id: bytes
    reserved: Reserved
    progressed: Progressed
    settled: Settled
    released: Released
    refused: Refused
    confirmed: Confirmed
    def __init__(self, hold_id: _Optional[bytes] = ..., reserved: _Optional[_Union[Reserved, _Mapping]] = ..., progressed: _Optional[_Union[Progressed, _Mapping]] = ..., settled: _Optional[_Union[Settled, _Mapping]] = ..., released: _Optional[_Union[Released, _Mapping]] = ..., refused: _Optional[_Union[Refused, _Mapping]] = ..., confirmed: _Optional[_Union[Confirmed, _Mapping]] = ...) -> None: ...

class RateWindow(_message.Message):
    __slots__ = ("limit", "remaining", "reset_after")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    RESET_AFTER_FIELD_NUMBER: _ClassVar[int]
    limit: int
    remaining: int
    reset_after: _duration_pb2.Duration
    def __init__(self, limit: _Optional[int] = ..., remaining: _Optional[int] = ..., reset_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Reserved(_message.Message):
    __slots__ = ("max_tokens", "covered_tokens", "window")
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COVERED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    max_tokens: int
    covered_tokens: int
    window: RateWindow
    def __init__(self, max_tokens: _Optional[int] = ..., covered_tokens: _Optional[int] = ..., window: _Optional[_Union[RateWindow, _Mapping]] = ...) -> None: ...

class Progressed(_message.Message):
    __slots__ = ("covered_tokens", "limited")
    COVERED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LIMITED_FIELD_NUMBER: _ClassVar[int]
    covered_tokens: int
    limited: bool
    def __init__(self, covered_tokens: _Optional[int] = ..., limited: _Optional[bool] = ...) -> None: ...

class Settled(_message.Message):
    __slots__ = ("credits", "uncollected_credits")
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    UNCOLLECTED_CREDITS_FIELD_NUMBER: _ClassVar[int]
    credits: int
    uncollected_credits: int
    def __init__(self, credits: _Optional[int] = ..., uncollected_credits: _Optional[int] = ...) -> None: ...

class Released(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Confirmed(_message.Message):
    __slots__ = ("refunded_credits",)
    REFUNDED_CREDITS_FIELD_NUMBER: _ClassVar[int]
    refunded_credits: int
    def __init__(self, refunded_credits: _Optional[int] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("reason", "detail", "retry_after", "window", "limit")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Refused.Reason]
        REASON_RATE_LIMITED: _ClassVar[Refused.Reason]
        REASON_INSUFFICIENT_CREDITS: _ClassVar[Refused.Reason]
        REASON_KEY_LIMIT_REACHED: _ClassVar[Refused.Reason]
        REASON_NO_PRICE: _ClassVar[Refused.Reason]
        REASON_HOLD_CONFLICT: _ClassVar[Refused.Reason]
        REASON_HOLD_ENDED: _ClassVar[Refused.Reason]
        REASON_INVALID: _ClassVar[Refused.Reason]
        REASON_UNAVAILABLE: _ClassVar[Refused.Reason]
        REASON_LOSSES_TOO_HIGH: _ClassVar[Refused.Reason]
    REASON_UNSPECIFIED: Refused.Reason
    REASON_RATE_LIMITED: Refused.Reason
    REASON_INSUFFICIENT_CREDITS: Refused.Reason
    REASON_KEY_LIMIT_REACHED: Refused.Reason
    REASON_NO_PRICE: Refused.Reason
    REASON_HOLD_CONFLICT: Refused.Reason
    REASON_HOLD_ENDED: Refused.Reason
    REASON_INVALID: Refused.Reason
    REASON_UNAVAILABLE: Refused.Reason
    REASON_LOSSES_TOO_HIGH: Refused.Reason
    class Limit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        LIMIT_UNSPECIFIED: _ClassVar[Refused.Limit]
        LIMIT_ACCOUNT: _ClassVar[Refused.Limit]
        LIMIT_KEY: _ClassVar[Refused.Limit]
        LIMIT_MONTH: _ClassVar[Refused.Limit]
        LIMIT_MEMBER: _ClassVar[Refused.Limit]
    LIMIT_UNSPECIFIED: Refused.Limit
    LIMIT_ACCOUNT: Refused.Limit
    LIMIT_KEY: Refused.Limit
    LIMIT_MONTH: Refused.Limit
    LIMIT_MEMBER: Refused.Limit
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    reason: Refused.Reason
    detail: str
    retry_after: _duration_pb2.Duration
    window: RateWindow
    limit: Refused.Limit
    def __init__(self, reason: _Optional[_Union[Refused.Reason, str]] = ..., detail: _Optional[str] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., window: _Optional[_Union[RateWindow, _Mapping]] = ..., limit: _Optional[_Union[Refused.Limit, str]] = ...) -> None: ...

class GetBalanceRequest(_message.Message):
    __slots__ = ("account_id",)
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    def __init__(self, account_id: _Optional[str] = ...) -> None: ...

class GetBalanceResponse(_message.Message):
    __slots__ = ("balance", "held")
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    balance: int
    held: int
    def __init__(self, balance: _Optional[int] = ..., held: _Optional[int] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ("account_id", "start_day", "end_day")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    START_DAY_FIELD_NUMBER: _ClassVar[int]
    END_DAY_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    start_day: str
    end_day: str
    def __init__(self, account_id: _Optional[str] = ..., start_day: _Optional[str] = ..., end_day: _Optional[str] = ...) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("balance", "totals", "days", "models")
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    balance: int
    totals: UsageTotals
    days: _containers.RepeatedCompositeFieldContainer[UsageDay]
    models: _containers.RepeatedCompositeFieldContainer[UsageModel]
    def __init__(self, balance: _Optional[int] = ..., totals: _Optional[_Union[UsageTotals, _Mapping]] = ..., days: _Optional[_Iterable[_Union[UsageDay, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[UsageModel, _Mapping]]] = ...) -> None: ...

class UsageTotals(_message.Message):
    __slots__ = ("credits", "tokens", "requests")
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    credits: int
    tokens: int
    requests: int
    def __init__(self, credits: _Optional[int] = ..., tokens: _Optional[int] = ..., requests: _Optional[int] = ...) -> None: ...

class UsageDay(_message.Message):
    __slots__ = ("day", "credits", "requests")
    DAY_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    day: str
    credits: int
    requests: int
    def __init__(self, day: _Optional[str] = ..., credits: _Optional[int] = ..., requests: _Optional[int] = ...) -> None: ...

class UsageModel(_message.Message):
    __slots__ = ("model", "credits")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    model: str
    credits: int
    def __init__(self, model: _Optional[str] = ..., credits: _Optional[int] = ...) -> None: ...

class Charge(_message.Message):
    __slots__ = ("hold_id", "key_id", "model", "state", "prompt_tokens", "output_tokens", "input_price", "output_price", "credits", "uncollected_credits", "reserved_at", "ended_at", "unconfirmed", "refunded_credits", "estimated", "endpoint", "member_id", "request_id", "end_reason", "first_token_ms", "cached_tokens", "input_units", "output_units", "produced")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Charge.State]
        STATE_HELD: _ClassVar[Charge.State]
        STATE_SETTLED: _ClassVar[Charge.State]
        STATE_RELEASED: _ClassVar[Charge.State]
        STATE_EXPIRED: _ClassVar[Charge.State]
    STATE_UNSPECIFIED: Charge.State
    STATE_HELD: Charge.State
    STATE_SETTLED: Charge.State
    STATE_RELEASED: Charge.State
    STATE_EXPIRED: Charge.State
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_PRICE_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_PRICE_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    UNCOLLECTED_CREDITS_FIELD_NUMBER: _ClassVar[int]
    RESERVED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    UNCONFIRMED_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_CREDITS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    END_REASON_FIELD_NUMBER: _ClassVar[int]
    FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INPUT_UNITS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_UNITS_FIELD_NUMBER: _ClassVar[int]
    PRODUCED_FIELD_NUMBER: _ClassVar[int]
    hold_id: bytes
    key_id: str
    model: str
    state: Charge.State
    prompt_tokens: int
    output_tokens: int
    input_price: int
    output_price: int
    credits: int
    uncollected_credits: int
    reserved_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    unconfirmed: bool
    refunded_credits: int
    estimated: bool
    endpoint: str
    member_id: str
    request_id: str
    end_reason: str
    first_token_ms: int
    cached_tokens: int
    input_units: Units
    output_units: Units
    produced: bool
    def __init__(self, hold_id: _Optional[bytes] = ..., key_id: _Optional[str] = ..., model: _Optional[str] = ..., state: _Optional[_Union[Charge.State, str]] = ..., prompt_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., input_price: _Optional[int] = ..., output_price: _Optional[int] = ..., credits: _Optional[int] = ..., uncollected_credits: _Optional[int] = ..., reserved_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., unconfirmed: _Optional[bool] = ..., refunded_credits: _Optional[int] = ..., estimated: _Optional[bool] = ..., endpoint: _Optional[str] = ..., member_id: _Optional[str] = ..., request_id: _Optional[str] = ..., end_reason: _Optional[str] = ..., first_token_ms: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., input_units: _Optional[_Union[Units, _Mapping]] = ..., output_units: _Optional[_Union[Units, _Mapping]] = ..., produced: _Optional[bool] = ...) -> None: ...

class ListChargesRequest(_message.Message):
    __slots__ = ("account_id", "page_size", "page_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    page_size: int
    page_token: str
    def __init__(self, account_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListChargesResponse(_message.Message):
    __slots__ = ("charges", "next_page_token")
    CHARGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    charges: _containers.RepeatedCompositeFieldContainer[Charge]
    next_page_token: str
    def __init__(self, charges: _Optional[_Iterable[_Union[Charge, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetChargeRequest(_message.Message):
    __slots__ = ("hold_id",)
    HOLD_ID_FIELD_NUMBER: _ClassVar[int]
    hold_id: bytes
    def __init__(self, hold_id: _Optional[bytes] = ...) -> None: ...

class GetChargeResponse(_message.Message):
    __slots__ = ("account_id", "charge", "edge_name", "choices", "requested_tokens", "max_tokens", "covered_tokens", "delivered_tokens", "held")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CHARGE_FIELD_NUMBER: _ClassVar[int]
    EDGE_NAME_FIELD_NUMBER: _ClassVar[int]
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COVERED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    charge: Charge
    edge_name: str
    choices: int
    requested_tokens: int
    max_tokens: int
    covered_tokens: int
    delivered_tokens: int
    held: int
    def __init__(self, account_id: _Optional[str] = ..., charge: _Optional[_Union[Charge, _Mapping]] = ..., edge_name: _Optional[str] = ..., choices: _Optional[int] = ..., requested_tokens: _Optional[int] = ..., max_tokens: _Optional[int] = ..., covered_tokens: _Optional[int] = ..., delivered_tokens: _Optional[int] = ..., held: _Optional[int] = ...) -> None: ...

class GrantRequest(_message.Message):
    __slots__ = ("grant_id", "account_id", "credits", "reason")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    grant_id: str
    account_id: str
    credits: int
    reason: str
    def __init__(self, grant_id: _Optional[str] = ..., account_id: _Optional[str] = ..., credits: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class GrantResponse(_message.Message):
    __slots__ = ("balance", "repeated")
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    balance: int
    repeated: bool
    def __init__(self, balance: _Optional[int] = ..., repeated: _Optional[bool] = ...) -> None: ...

class RefundRequest(_message.Message):
    __slots__ = ("refund_id", "account_id", "credits", "reason")
    REFUND_ID_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    refund_id: str
    account_id: str
    credits: int
    reason: str
    def __init__(self, refund_id: _Optional[str] = ..., account_id: _Optional[str] = ..., credits: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class RefundResponse(_message.Message):
    __slots__ = ("balance", "repeated")
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    REPEATED_FIELD_NUMBER: _ClassVar[int]
    balance: int
    repeated: bool
    def __init__(self, balance: _Optional[int] = ..., repeated: _Optional[bool] = ...) -> None: ...

class LedgerEntry(_message.Message):
    __slots__ = ("entry_id", "kind", "credits", "reference", "reason", "created_at")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[LedgerEntry.Kind]
        KIND_GRANT: _ClassVar[LedgerEntry.Kind]
        KIND_PURCHASE: _ClassVar[LedgerEntry.Kind]
        KIND_CHARGE: _ClassVar[LedgerEntry.Kind]
        KIND_REFUND: _ClassVar[LedgerEntry.Kind]
        KIND_ANSWER_REFUND: _ClassVar[LedgerEntry.Kind]
        KIND_DISPUTE: _ClassVar[LedgerEntry.Kind]
        KIND_DISPUTE_WON: _ClassVar[LedgerEntry.Kind]
        KIND_FORFEIT: _ClassVar[LedgerEntry.Kind]
        KIND_DEBT_WRITTEN: _ClassVar[LedgerEntry.Kind]
        KIND_DEBT_PAID: _ClassVar[LedgerEntry.Kind]
    KIND_UNSPECIFIED: LedgerEntry.Kind
    KIND_GRANT: LedgerEntry.Kind
    KIND_PURCHASE: LedgerEntry.Kind
    KIND_CHARGE: LedgerEntry.Kind
    KIND_REFUND: LedgerEntry.Kind
    KIND_ANSWER_REFUND: LedgerEntry.Kind
    KIND_DISPUTE: LedgerEntry.Kind
    KIND_DISPUTE_WON: LedgerEntry.Kind
    KIND_FORFEIT: LedgerEntry.Kind
    KIND_DEBT_WRITTEN: LedgerEntry.Kind
    KIND_DEBT_PAID: LedgerEntry.Kind
    ENTRY_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    entry_id: int
    kind: LedgerEntry.Kind
    credits: int
    reference: str
    reason: str
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, entry_id: _Optional[int] = ..., kind: _Optional[_Union[LedgerEntry.Kind, str]] = ..., credits: _Optional[int] = ..., reference: _Optional[str] = ..., reason: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListLedgerRequest(_message.Message):
    __slots__ = ("account_id", "page_size", "page_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    page_size: int
    page_token: str
    def __init__(self, account_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLedgerResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[LedgerEntry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[LedgerEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListLossesRequest(_message.Message):
    __slots__ = ("account_id", "start_day", "end_day", "page_size", "page_token")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    START_DAY_FIELD_NUMBER: _ClassVar[int]
    END_DAY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    start_day: str
    end_day: str
    page_size: int
    page_token: str
    def __init__(self, account_id: _Optional[str] = ..., start_day: _Optional[str] = ..., end_day: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLossesResponse(_message.Message):
    __slots__ = ("days", "next_page_token")
    DAYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    days: _containers.RepeatedCompositeFieldContainer[LossDay]
    next_page_token: str
    def __init__(self, days: _Optional[_Iterable[_Union[LossDay, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class LossDay(_message.Message):
    __slots__ = ("account_id", "day", "uncollected", "estimate_minus_usage", "answer_refunds", "retry_refunds", "abandoned", "forgiven")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    UNCOLLECTED_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_MINUS_USAGE_FIELD_NUMBER: _ClassVar[int]
    ANSWER_REFUNDS_FIELD_NUMBER: _ClassVar[int]
    RETRY_REFUNDS_FIELD_NUMBER: _ClassVar[int]
    ABANDONED_FIELD_NUMBER: _ClassVar[int]
    FORGIVEN_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    day: str
    uncollected: int
    estimate_minus_usage: int
    answer_refunds: int
    retry_refunds: int
    abandoned: int
    forgiven: int
    def __init__(self, account_id: _Optional[str] = ..., day: _Optional[str] = ..., uncollected: _Optional[int] = ..., estimate_minus_usage: _Optional[int] = ..., answer_refunds: _Optional[int] = ..., retry_refunds: _Optional[int] = ..., abandoned: _Optional[int] = ..., forgiven: _Optional[int] = ...) -> None: ...

class ForgiveLossesRequest(_message.Message):
    __slots__ = ("account_id",)
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    def __init__(self, account_id: _Optional[str] = ...) -> None: ...

class ForgiveLossesResponse(_message.Message):
    __slots__ = ("forgiven",)
    FORGIVEN_FIELD_NUMBER: _ClassVar[int]
    forgiven: int
    def __init__(self, forgiven: _Optional[int] = ...) -> None: ...

class CheckBooksRequest(_message.Message):
    __slots__ = ("full",)
    FULL_FIELD_NUMBER: _ClassVar[int]
    full: bool
    def __init__(self, full: _Optional[bool] = ...) -> None: ...

class CheckBooksResponse(_message.Message):
    __slots__ = ("balanced", "accounts", "granted", "purchased", "refunded", "charged", "balance", "held", "open_holds", "oldest_hold", "differences", "answer_refunds")
    BALANCED_FIELD_NUMBER: _ClassVar[int]
    ACCOUNTS_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    PURCHASED_FIELD_NUMBER: _ClassVar[int]
    REFUNDED_FIELD_NUMBER: _ClassVar[int]
    CHARGED_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    OPEN_HOLDS_FIELD_NUMBER: _ClassVar[int]
    OLDEST_HOLD_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    ANSWER_REFUNDS_FIELD_NUMBER: _ClassVar[int]
    balanced: bool
    accounts: int
    granted: int
    purchased: int
    refunded: int
    charged: int
    balance: int
    held: int
    open_holds: int
    oldest_hold: _duration_pb2.Duration
    differences: _containers.RepeatedCompositeFieldContainer[BooksDifference]
    answer_refunds: int
    def __init__(self, balanced: _Optional[bool] = ..., accounts: _Optional[int] = ..., granted: _Optional[int] = ..., purchased: _Optional[int] = ..., refunded: _Optional[int] = ..., charged: _Optional[int] = ..., balance: _Optional[int] = ..., held: _Optional[int] = ..., open_holds: _Optional[int] = ..., oldest_hold: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., differences: _Optional[_Iterable[_Union[BooksDifference, _Mapping]]] = ..., answer_refunds: _Optional[int] = ...) -> None: ...

class BooksDifference(_message.Message):
    __slots__ = ("account_id", "check", "expected", "found")
    ACCOUNT_ID_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    account_id: str
    check: str
    expected: int
    found: int
    def __init__(self, account_id: _Optional[str] = ..., check: _Optional[str] = ..., expected: _Optional[int] = ..., found: _Optional[int] = ...) -> None: ...
