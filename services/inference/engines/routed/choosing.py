"""Which target gets a request: the least loaded for its weight among the healthy ones of the first order."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from services.inference.domain.errors import EngineUnavailable, Overloaded
from services.inference.engines.routed.route import Route


class Routes:
    """A model's targets. A later order is for when no target of an earlier one is healthy, not for more load."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.all = list(routes)
        self._changed = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether any target is worth asking."""
        return any(not route.open() for route in self.all)

    @property
    def slots(self) -> int:
        """What the targets that are in use now generate at once; never 0, so that who waits learns that none is."""
        healthy = [route for route in self.all if not route.open()] or self.all
        return sum(route.engine.slots for route in _first(healthy))

    def for_preparing(self, tried: Collection[Route], account: str) -> Route | None:
        """Which one should count a prompt of this account; None: all that could were tried."""
        left = [route for route in self.all if route not in tried and not route.open(account)]
        resting = [route for route in left if not route.pause]
        return _least(_first(resting or left), 1, None) if left else None

    async def take(self, choices: int, tried: Collection[Route], prepared: Route, account: str) -> Route:
        """Waits until a healthy target has room for so many choices and occupies it; release() must follow.

        Those not tried come first; among equals the one that has counted the prompt. Raises EngineUnavailable when
        none is healthy, Overloaded when those that are asked for a pause.
        """
        while True:
            healthy = [route for route in self.all if route.usable(account)]
            if not healthy:
                raise self._none(account)
            group = _first([route for route in healthy if route not in tried] or healthy)
            if roomy := [route for route in group if route.has_room(choices)]:
                route = _least(roomy, choices, prepared)
                route.outstanding += choices
                return route
            self._changed.clear()
            await self._changed.wait()

    def release(self, route: Route, choices: int) -> None:
        """Gives the room back."""
        route.outstanding -= choices
        self._changed.set()

    def _none(self, account: str) -> EngineUnavailable | Overloaded:
        pauses = [route.pause for route in self.all if not route.open(account) and route.pause]
        if pauses:
            return Overloaded("the model's targets asked for a pause", retry_after=min(pauses))
        return EngineUnavailable("none of the model's targets is healthy")


def _first(routes: Sequence[Route]) -> list[Route]:
    order = min(route.order for route in routes)
    return [route for route in routes if route.order == order]


def _least(routes: Sequence[Route], choices: int, prepared: Route | None) -> Route:
    route = min(routes, key=lambda each: (each.load(choices), each is not prepared, each.picked / each.weight))
    route.picked += 1
    return route
