"""The edge's application: hot endpoints in plain ASGI, the others in FastAPI, one shape of error on every path."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from servicekit.clock import Clock
from servicekit.observability import tracing
from servicekit.rpc import request_id as ids
from servicekit.timer_wheel import TimerWheel
from services.edge.endpoints import openapi
from services.edge.endpoints.access import Platform
from services.edge.endpoints.chat.validation import explain_findings
from services.edge.endpoints.endpoint import HotEndpoint, HotLimits, HotTools
from services.edge.endpoints.errors import to_api_error
from services.edge.endpoints.routes import HOT, OTHERS
from services.edge.http.access_log import request_broke, request_ended
from services.edge.http.cors import Cors
from services.edge.http.disconnect import ClientGone
from services.edge.http.errors import ApiError
from services.edge.http.exchange import CLIENT_GONE, Exchange, Receive, Scope, Send
from services.edge.http.ids import new_request_id
from services.edge.http.limits import Limits
from services.edge.http.parsing.parser import BodyParser
from services.edge.peers.errors import Failure
from services.edge.serving.gateway import Gateway

TRACED = "/v1/"  # probes and scrapes would drown the rest


class EdgeApp:
    """The ASGI application."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        clock: Clock,
        limits: HotLimits | None = None,
        reads_per_minute: int = 600,
        cors: Cors | None = None,
        budget: Limits | None = None,
        parser: BodyParser | None = None,
        trust_traceparent: bool = False,
        new_id: Callable[[], str] = new_request_id,
        timers: TimerWheel | None = None,
        hot: Sequence[HotEndpoint] = HOT,
    ) -> None:
        self._clock = clock
        self._cors = cors
        self._trust_traceparent = trust_traceparent
        self._new_id = new_id
        budget = budget or Limits(clock)
        parser = parser or BodyParser(budget, [each.body for each in hot])
        tools = HotTools(gateway, clock, limits or HotLimits(), budget, parser, timers or TimerWheel())
        self._hot = {(each.path, each.method): each.make(tools) for each in hot}
        self._rest = make_fastapi(Platform(gateway, clock, reads_per_minute, budget), hot)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the edge does not speak {scope['type']}")
        if self._cors is not None:
            send = self._cors.sending(scope, send)
        exchange = Exchange(scope, send, request_id=self._new_id(), clock=self._clock)
        ids.current.set(exchange.request_id)
        if scope["path"].startswith(TRACED):
            parent = exchange.header(b"traceparent")
            exchange.trace = tracing.begin("request", parent, trusted=self._trust_traceparent)
        tracing.current.set(exchange.trace)  # also when there is none: a pipelined request begins in its predecessor's
        try:
            if (hot := self._hot.get((scope["path"], scope["method"]))) is not None:
                await hot.serve(exchange, receive)
            elif self._cors is not None and self._cors.is_preflight(scope):
                await self._cors.answer_preflight(exchange)
            else:
                await self._serve_rest(exchange, scope, receive)
        except ApiError as error:
            await exchange.fail(error)
        except Failure as failure:
            await exchange.fail(to_api_error(failure))
        except ClientGone:
            exchange.status = CLIENT_GONE
        except asyncio.CancelledError:
            # The server stops and its drain time is over. Swallowed: the task ends here anyway, and the client is told.
            await exchange.fail(ApiError.service_unavailable("The server is stopping. Try again.", "draining", 1))
        except Exception as error:  # noqa: BLE001  (the one place where a defect becomes a 500)
            request_broke(exchange, error)
            await exchange.fail(ApiError.internal(exchange.request_id))
        finally:
            request_ended(exchange, self._clock.monotonic())

    async def _serve_rest(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        method = scope["method"]
        if scope["path"] in self._rest.state.hot_methods:
            exchange.route = scope["path"]
        # uvicorn leaves the body of a HEAD away by its own scope, so the routes need to know GET only.
        inner = {**scope, "exchange": exchange, "method": "GET" if method == "HEAD" else method}
        if method == "OPTIONS":
            await self._options(exchange, inner)
            return
        try:
            await self._rest(inner, receive, exchange.asgi_send)
        finally:
            route = inner.get("route")
            exchange.route = getattr(route, "path_format", exchange.route)

    async def _options(self, exchange: Exchange, scope: Scope) -> None:
        allowed = allowed_methods(self._rest, scope)
        if not allowed:
            raise ApiError.not_found("OPTIONS", scope["path"])
        await exchange.start(204, [(b"allow", allowed.encode())])
        await exchange.body(b"")


def make_fastapi(platform: Platform, hot: Sequence[HotEndpoint] = HOT) -> FastAPI:
    """Everything but the hot endpoints, of which it knows the methods."""
    app = FastAPI(
        title="MUHGPT API", version="1", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.platform = platform
    app.state.hot_methods = {
        each.path: {"OPTIONS", *(same.method for same in hot if same.path == each.path)} for each in hot
    }
    for each in OTHERS:
        app.include_router(each.router)
    app.include_router(openapi.router)
    openapi.describe(app)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(Failure, _on_failure)
    app.add_exception_handler(Exception, _on_defect)
    return app


def allowed_methods(app: FastAPI, scope: Scope) -> str:
    """The Allow header's value for a path; empty when there is no such path."""
    methods = {*app.state.hot_methods.get(scope["path"], ())}
    for route in app.routes:
        match, _ = route.matches({**scope, "method": "GET"})
        if match is not Match.NONE:
            methods |= {"GET", "HEAD", "OPTIONS"}
    return ", ".join(sorted(methods))


def _response(error: ApiError) -> Response:
    return Response(error.body(), error.status, headers={**error.headers, "content-type": "application/json"})


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such route, or not this method."""
    method, path = request.scope["exchange"].method, request.scope["path"]
    allowed = allowed_methods(request.app, request.scope)
    return _response(ApiError.method_not_allowed(method, allowed) if allowed else ApiError.not_found(method, path))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    findings = [{**finding, "loc": finding["loc"][1:]} for finding in error.errors()]  # without "query"
    return _response(explain_findings(findings))


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _response(error)


async def _on_failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, Failure)
    return _response(to_api_error(error))


async def _on_defect(request: Request, error: Exception) -> Response:
    """Starlette answers with this and raises the error again, for EdgeApp to log."""
    return _response(ApiError.internal(request.scope["exchange"].request_id))
