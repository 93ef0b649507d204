"""The models that run now: started from the model list, and exchanged for those of a new list while requests run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from common.model_list import ModelEntry, ModelList
from servicekit.observability.logging import get_logger
from services.inference.domain.registry import Registry
from services.inference.engines.factory import BuiltModel, EngineFactory

log = get_logger(__name__)

# A request that was prepared may come this late (Inference.Prepare's handles live 60 s), so an engine that the new list
# does not name is closed no earlier, and not before it is idle.
RETIREMENT = 65.0  # seconds
IDLE_INTERVAL = 1.0  # seconds between two looks whether a retired engine is idle


class Fleet:
    """Engines of all models. Safe for one start, then reloads one after the other, then close."""

    def __init__(
        self,
        factory: EngineFactory,
        queue_limit: int,
        see: Callable[[], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`see` is called before a model with vision is served."""
        self.registry = Registry((), queue_limit)
        self._factory = factory
        self._see = see
        self._sleep = sleep
        self._models: dict[str, BuiltModel] = {}
        self._retiring: dict[asyncio.Task[None], list[BuiltModel]] = {}

    async def start(self, models: ModelList) -> None:
        """Starts what the list names. Raises StartupError, and has then closed what it had started."""
        await self._exchange(models)

    async def reload(self, models: ModelList) -> None:
        """Serves what the new list names, for new requests. Raises StartupError, and has then changed nothing."""
        await self._exchange(models)
        log.info("models_reloaded", models=list(self._models))

    async def close(self) -> None:
        """Stops all engines, retired ones too."""
        retired = [model for models in self._retiring.values() for model in models]
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await _close([*self._models.values(), *retired])
        await self._factory.close()

    async def _exchange(self, models: ModelList) -> None:
        wanted = {name: self._kept(entry) for name, entry in models.models.items()}
        new: dict[str, BuiltModel] = {}
        await asyncio.to_thread(self._factory.load_tokenizers, models.models.values())
        try:
            for name, entry in models.models.items():
                if wanted[name] is None:
                    new[name] = self._factory.build(entry)
            if any("vision" in entry.abilities for entry in models.models.values()):
                await self._see()
            # One after the other: together they would fight for the cores and the disk.
            for model in new.values():
                for worker in model.workers:
                    await worker.start()
        except BaseException:
            await _close(list(new.values()))
            raise
        self._serve({name: kept or new[name] for name, kept in wanted.items()})

    def _kept(self, entry: ModelEntry) -> BuiltModel | None:
        """What runs already and does not change but in price or aliases."""
        model = self._models.get(entry.id)
        if model is None or _running(model.entry) != _running(entry):
            return None
        if model.keys != self._factory.keys(entry):
            return None
        return BuiltModel(entry, model.engine, model.workers, model.keys)

    def _serve(self, models: dict[str, BuiltModel]) -> None:
        staying = {id(model.engine) for model in models.values()}
        retired = [model for model in self._models.values() if id(model.engine) not in staying]
        self._models = models
        self.registry.replace([(model.card, model.engine) for model in models.values()])
        if retired:
            task = asyncio.create_task(self._retire(retired))
            self._retiring[task] = retired
            task.add_done_callback(lambda done: self._retiring.pop(done, None))

    async def _retire(self, models: list[BuiltModel]) -> None:
        await self._sleep(RETIREMENT)
        while not all(self.registry.idle(model.engine) for model in models):
            await self._sleep(IDLE_INTERVAL)  # each generation has a deadline, so this ends
        for model in models:
            self.registry.forget(model.engine)
        await _close(models)
        log.info("models_retired", models=[model.entry.id for model in models])


def _running(entry: ModelEntry) -> tuple[object, ...]:
    """What of an entry its engine is made from."""
    return entry.targets, entry.abilities, entry.context_length


async def _close(models: Sequence[BuiltModel]) -> None:
    await asyncio.gather(*(model.engine.close() for model in models))
