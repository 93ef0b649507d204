"""One server interceptor: request id, access, access log, RED metrics, error translation, for every kind of method."""

from __future__ import annotations

import inspect
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import structlog
from grpc_status import rpc_status

from servicekit.clock import Clock, SystemClock
from servicekit.errors import DomainError, Kind
from servicekit.observability import metrics, tracing
from servicekit.observability.logging import get_logger
from servicekit.observability.masking import masked
from servicekit.rpc import request_id
from servicekit.rpc.access import AccessList
from servicekit.rpc.status import CODES, to_status

log = get_logger(__name__)
REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
Context: TypeAlias = Any  # grpc.aio.ServicerContext; grpc ships no types


class MessageMalformed(DomainError):
    """Bytes that are no message of the method's type."""

    kind = Kind.INVALID
    reason = "MESSAGE_MALFORMED"


class CallGuard(grpc.aio.ServerInterceptor):
    """Wraps every method of a server. `domain` is the ErrorInfo domain, "<service>.muhgpt"."""

    def __init__(self, domain: str, access: AccessList, clock: Clock | None = None) -> None:
        self._domain = domain
        self._access = access
        self._clock = clock or SystemClock()

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> grpc.RpcMethodHandler | None:
        handler = await continuation(handler_call_details)
        if handler is None:  # an unknown method: grpc answers UNIMPLEMENTED itself
            return None
        metadata = dict(handler_call_details.invocation_metadata or ())
        return self._wrap(handler, handler_call_details.method, metadata)

    def _wrap(self, handler: Any, method: str, metadata: dict[str, Any]) -> grpc.RpcMethodHandler:
        def guard(context: Context) -> Any:
            return self._around(context, method, metadata)

        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            behaviour = getattr(handler, kind)
            if behaviour is not None:
                decode = _decoder(handler.request_deserializer)
                take = _decode_each(decode) if kind.startswith("stream") else decode
                wrap = _generator if inspect.isasyncgenfunction(behaviour) else _plain
                make = getattr(grpc, f"{kind}_rpc_method_handler")
                # Bytes come in as they are: whoever may not call is refused before they are looked at.
                return make(wrap(behaviour, guard, take), None, handler.response_serializer)
        raise TypeError(f"{method} has no behaviour")

    @asynccontextmanager
    async def _around(self, context: Context, method: str, metadata: dict[str, Any]) -> AsyncIterator[None]:
        request_id.current.set(_id_of(metadata))
        structlog.contextvars.bind_contextvars(request_id=request_id.current.get())
        span = tracing.resume(method.lstrip("/"), str(metadata.get(tracing.HEADER, "")))
        tracing.current.set(span)
        metrics.RPC_STARTED.labels(method).inc()
        started, code = self._clock.monotonic(), grpc.StatusCode.OK
        try:
            self._access.check(method, str(metadata.get("authorization", "")), certified_names(context))
            yield
        except DomainError as error:
            code = CODES[error.kind]
            log.info("call_refused", method=method, reason=error.reason)
            status = to_status(error, self._domain)
            details = ((rpc_status.GRPC_DETAILS_METADATA_KEY, status.SerializeToString()),)
            await context.abort(code, error.message, details)
        except (grpc.aio.AbortError, GeneratorExit):
            code = context.code() or grpc.StatusCode.UNKNOWN
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("call_failed", method=method)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error")
        except BaseException:
            code = grpc.StatusCode.CANCELLED
            raise
        finally:
            seconds = self._clock.monotonic() - started
            metrics.RPC_HANDLED.labels(method, code.name).inc()
            metrics.RPC_SECONDS.labels(method).observe(seconds)
            span.end("" if code is grpc.StatusCode.OK else code.name)
            log.debug("call", method=method, code=code.name, seconds=round(seconds, 6))


def _id_of(metadata: dict[str, Any]) -> str:
    """The request's id as its caller names it, or a new one: strangers, too, could otherwise have anything logged."""
    given = str(metadata.get(request_id.METADATA_KEY, ""))
    return given if REQUEST_ID.fullmatch(given) and masked(given) == given else secrets.token_hex(8)


def certified_names(context: Context) -> list[str]:
    """The DNS names in the certificate that the caller proved to own; none on a connection without TLS 1.3."""
    connection = context.auth_context()
    if connection.get("ssl_tls_version") != [b"TLSv1.3"]:
        return []
    return [name.decode("ascii", "replace") for name in connection.get("peer_dns", ())]


def _decoder(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    if deserialize is None:  # a method that takes bytes
        return lambda raw: raw

    def decode(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except Exception:  # noqa: BLE001  what a parser raises says what it found, and that is the caller's own
            raise MessageMalformed("the message is not what this method takes") from None

    return decode


def _decode_each(decode: Callable[[bytes], Any]) -> Callable[[Any], Any]:
    async def messages(stream: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for raw in stream:
            yield decode(raw)

    return messages


def _plain(behaviour: Any, guard: Callable[[Context], Any], take: Callable[[Any], Any]) -> Any:
    async def call(request: Any, context: Context) -> Any:
        async with guard(context):
            return await behaviour(take(request), context)

    return call


def _generator(behaviour: Any, guard: Callable[[Context], Any], take: Callable[[Any], Any]) -> Any:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        async with guard(context):
            async for response in behaviour(take(request), context):
                yield response

    return call
