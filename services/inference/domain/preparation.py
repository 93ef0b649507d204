"""Preparing: a request becomes a counted prompt, at once or ahead of its generation under a handle."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from servicekit.clock import Clock
from services.inference.domain import limits, spent
from services.inference.domain.chat import ChatRequest
from services.inference.domain.errors import EngineUnavailable, Overloaded
from services.inference.domain.generation import PreparedRequest
from services.inference.domain.images import ImageLoader, refuse_images
from services.inference.domain.registry import Registry

HANDLE_LIFE = 60.0  # seconds, protos/muhgpt/inference/v1, Inference.Prepare


class Preparer:
    """Checks requests and has their prompts counted. `max_prompt_bytes` bounds a request's text.

    `images` loads what models with vision may see; None: no model has it.
    """

    def __init__(
        self, registry: Registry, max_prompt_bytes: int = 1024 * 1024, images: ImageLoader | None = None
    ) -> None:
        self._registry = registry
        self._max_prompt_bytes = max_prompt_bytes
        self._images = images

    async def prepare(self, request: ChatRequest, account_id: str = "") -> PreparedRequest:
        """Finds the model, checks the request and has its prompt counted.

        Raises ModelUnknown, InvalidRequest, ImageNotSupported, InvalidImage, InvalidImageUrl, ContextTooLong,
        EngineUnavailable, and Overloaded when the generation could not even wait for a slot; each with what it has cost
        (spent.py).
        """
        with spent.reported():
            return await self._prepare(request, account_id)

    async def _prepare(self, request: ChatRequest, account_id: str) -> PreparedRequest:
        target = self._registry.find(request.model)
        with spent.counted():
            limits.check(request, self._max_prompt_bytes)
        target.admission.check()
        if not target.engine.ready:
            raise EngineUnavailable(f"the engine of {target.card.id} is not running; it is being restarted")
        if request.has_images:
            if self._images is None or "vision" not in target.card.abilities:
                refuse_images(request, target.card.id)
            else:
                request = await self._images.load(request, account_id)
        prompt = await target.engine.prepare(replace(request, account=account_id))
        return PreparedRequest(target, prompt, request.sampling.choices)


@dataclass(frozen=True, slots=True)
class _Kept:
    session_id: bytes
    expires: float
    prepared: PreparedRequest


class Handles:
    """Prepared requests that wait for their session's stream; bounded in number and time."""

    def __init__(self, clock: Clock, new_handle: Callable[[], bytes], limit: int = 256) -> None:
        self._clock = clock
        self._new_handle = new_handle
        self._limit = limit
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()  # oldest first: all live equally long

    def check(self) -> None:
        """Raises Overloaded when no more can be kept; asked before the work of preparing."""
        self.expire()
        if len(self._kept) >= self._limit:
            raise Overloaded(f"{self._limit} prepared requests wait for their streams already", retry_after=1.0)

    def keep(self, session_id: bytes, prepared: PreparedRequest) -> bytes:
        """Keeps it for 60 s for one session; returns its handle. Raises Overloaded."""
        self.check()
        handle = self._new_handle()
        self._kept[handle] = _Kept(session_id, self._clock.monotonic() + HANDLE_LIFE, prepared)
        return handle

    def take(self, session_id: bytes, handle: bytes) -> PreparedRequest:
        """Gives it out, once. Raises EngineUnavailable when it expired, was taken, or is another session's."""
        self.expire()
        kept = self._kept.get(handle)
        if kept is None or kept.session_id != session_id:
            raise EngineUnavailable("the handle is unknown here or has expired; prepare the request again")
        del self._kept[handle]
        return kept.prepared

    def expire(self) -> None:
        """Lets go of those whose time is over: the pictures of their requests count against everybody's."""
        now = self._clock.monotonic()
        while self._kept and next(iter(self._kept.values())).expires <= now:
            self._kept.popitem(last=False)
