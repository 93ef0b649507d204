"""One server interceptor: request id, access, access log, RED metrics, error translation, for every kind of method."""

from __future__ import annotations

import inspect
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import structlog
from grpc_status import rpc_status

from servicekit import metrics, request_id, tracing
from servicekit.access import AccessList
from servicekit.errors import DomainError
from servicekit.logging import get_logger
from servicekit.rpc_status import CODES, to_status

log = get_logger(__name__)
Context: TypeAlias = Any  # grpc.aio.ServicerContext; grpc ships no types


class CallGuard(grpc.aio.ServerInterceptor):
    """Wraps every method of a server. `domain` is the ErrorInfo domain, "<service>.muhgpt"."""

    def __init__(self, domain: str, access: AccessList) -> None:
        self._domain = domain
        self._access = access

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
                wrapped = (
                    _generator(behaviour, guard) if inspect.isasyncgenfunction(behaviour) else _plain(behaviour, guard)
                )
                make = getattr(grpc, f"{kind}_rpc_method_handler")
                return make(wrapped, handler.request_deserializer, handler.response_serializer)
        raise TypeError(f"{method} has no behaviour")

    @asynccontextmanager
    async def _around(self, context: Context, method: str, metadata: dict[str, Any]) -> AsyncIterator[None]:
        request_id.current.set(str(metadata.get(request_id.METADATA_KEY, "")) or secrets.token_hex(8))
        structlog.contextvars.bind_contextvars(request_id=request_id.current.get())
        span = tracing.resume(method.lstrip("/"), str(metadata.get(tracing.HEADER, "")))
        tracing.current.set(span)
        metrics.RPC_STARTED.labels(method).inc()
        started, code = time.monotonic(), grpc.StatusCode.OK
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
            seconds = time.monotonic() - started
            metrics.RPC_HANDLED.labels(method, code.name).inc()
            metrics.RPC_SECONDS.labels(method).observe(seconds)
            span.end("" if code is grpc.StatusCode.OK else code.name)
            log.debug("call", method=method, code=code.name, seconds=round(seconds, 6))


def certified_names(context: Context) -> list[str]:
    """The DNS names in the certificate that the caller proved to own; none on a connection without TLS 1.3."""
    connection = context.auth_context()
    if connection.get("ssl_tls_version") != [b"TLSv1.3"]:
        return []
    return [name.decode("ascii", "replace") for name in connection.get("peer_dns", ())]


def _plain(behaviour: Any, guard: Callable[[Context], Any]) -> Any:
    async def call(request: Any, context: Context) -> Any:
        async with guard(context):
            return await behaviour(request, context)

    return call


def _generator(behaviour: Any, guard: Callable[[Context], Any]) -> Any:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        async with guard(context):
            async for response in behaviour(request, context):
                yield response

    return call
