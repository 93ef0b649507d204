"""The gRPC face of inference: each method unpacks, asks the domain once, and packs."""

from __future__ import annotations

import asyncio

from muhgpt.inference.v1 import inference_pb2 as pb
from muhgpt.inference.v1 import inference_pb2_grpc
from servicekit.clock import Clock
from servicekit.timer_wheel import TimerWheel
from services.inference import convert
from services.inference.domain.preparation import Handles, Preparer
from services.inference.domain.registry import Registry
from services.inference.session import MAX_GENERATIONS, Context, EdgeSession, Requests


class InferenceServicer(inference_pb2_grpc.InferenceServicer):
    """See protos/muhgpt/inference/v1/inference.proto. `draining` is the server's event."""

    def __init__(
        self,
        registry: Registry,
        preparer: Preparer,
        handles: Handles,
        clock: Clock,
        draining: asyncio.Event,
        *,
        timers: TimerWheel | None = None,
        max_generations: int = MAX_GENERATIONS,
    ) -> None:
        """`timers`: the process's, when it has one already."""
        self._registry = registry
        self._preparer = preparer
        self._handles = handles
        self._clock = clock
        self._timers = timers or TimerWheel()
        self._draining = draining
        self._max_generations = max_generations

    async def Session(self, request_iterator: Requests, context: Context) -> None:
        """Carries many generations of one edge worker."""
        session = EdgeSession(
            self._preparer,
            self._handles,
            self._registry,
            self._clock,
            self._timers,
            self._draining,
            self._max_generations,
        )
        await session.run(request_iterator, context)

    async def Prepare(self, request: pb.PrepareRequest, context: Context) -> pb.PrepareResponse:
        """Prepares a large request ahead of its stream."""
        self._handles.check()
        prepared = await self._preparer.prepare(convert.to_request(request.request), request.account_id)
        handle = self._handles.keep(request.session_id, prepared)
        return pb.PrepareResponse(handle=handle, prepared=convert.from_prepared(prepared.prompt.prepared))

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """The models of this replica and which of them can answer now."""
        models = [model for target in self._registry.targets for model in convert.from_target(target)]
        return pb.ListModelsResponse(models=models)
