"""Where the smoke test runs: a cluster, or a stand-in for one."""

from __future__ import annotations

from typing import Any, Protocol


class Site(Protocol):
    """A platform that can be used, restarted and watched. Coroutines raise AssertionError with the reason."""

    async def start(self) -> None:
        """Returns when everything is ready."""

    async def stop(self) -> None:
        """Ends what `start` began."""

    @property
    def base_url(self) -> str:
        """The API as a client here reaches it."""
        ...

    async def muhgpt(self, *arguments: str) -> Any:
        """The JSON document of one command of the operator's."""

    async def load(self, keys: list[str]) -> Load:
        """Starts load.py beside the platform; returns when every seat has had an answer."""
        ...

    async def restart(self, service: str) -> None:
        """Restarts every replica, one at a time, as a rollout does; returns when all are ready."""


class Load:
    """load.py as a running process."""

    def __init__(self, process: Any) -> None:
        self._process = process

    async def streaming(self) -> None:
        """Returns when every seat has had an answer."""
        line = await self._process.stdout.readline()
        assert line == b"streaming\n", f"the load ended: {line.decode()}{(await self._process.stderr.read()).decode()}"

    async def finish(self) -> list[dict[str, Any]]:
        """Lets the last answers end, and gives what came of all requests."""
        import json

        out, errors = await self._process.communicate(b"stop\n")
        assert self._process.returncode == 0, errors.decode()
        requests: list[dict[str, Any]] = json.loads(out)
        return requests
