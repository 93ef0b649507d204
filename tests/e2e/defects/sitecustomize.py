"""Defects for the real services, put in by Python itself at their start: a folder for PYTHONPATH, in tests alone.

A function of each service fails when what it is given holds its word, as a real defect would: with an exception whose
text quotes it, and with others in a thread, a destructor, a callback and a task. And each process puts out a canary
(PLANTED) in all ways that the search must know, so that a search which finds nothing is known to have looked.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.abc
import importlib.machinery
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

PLANTED = os.environ.get("TEST_PRIVACY_PLANTED", "")
TEXT = os.environ.get("TEST_PRIVACY_TEXT", "")  # what exceptions say beside what they quote


class _Careless:
    def __init__(self, text: str) -> None:
        self.text = text

    def __del__(self) -> None:
        raise KeyError(self.text)


def erupt(text: str) -> None:
    """Fails in every way in which Python would print the text."""
    threading.Thread(target=_fail, args=(text,)).start()
    _Careless(text)
    with contextlib.suppress(RuntimeError):  # no loop runs in this thread
        loop = asyncio.get_running_loop()
        loop.call_soon(_fail, text)
        loop.create_task(_failing(text))  # noqa: RUF006  nobody takes its exception
    _fail(text)


def _fail(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError as cause:
        raise KeyError(text) from cause


async def _failing(text: str) -> None:
    _fail(text)


def _breaks(word: str) -> Callable[..., Any]:
    """Makes a function fail when its arguments hold the word."""

    def change(function: Callable[..., Any]) -> Callable[..., Any]:
        def broken(*args: Any, **kwargs: Any) -> Any:
            told = " ".join(map(str, args))
            if word in told:
                erupt(f"{told} {TEXT}")
            return function(*args, **kwargs)

        return broken

    return change


def _plants(run: Callable[..., Any]) -> Callable[..., Any]:
    """`servicekit.process.run` in a process that puts PLANTED out in every way."""

    def planting(main: Any) -> None:
        import prometheus_client

        prometheus_client.Counter("planted", "planted", ["what"]).labels(PLANTED).inc()
        sys.stderr.write(f"{PLANTED}\n")
        addresses = [Path(value) for name, value in os.environ.items() if name.endswith("_ADDRESS_FILE")]
        for path in addresses:
            path.with_suffix(".planted").write_text(PLANTED)
        subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read()", PLANTED], stdin=subprocess.PIPE)
        run(main)

    return planting


def _lets_defects_through(environment: tuple[str, ...]) -> tuple[str, ...]:
    """What image decoders inherit: without these this file would not run in them."""
    return (*environment, "TEST_PRIVACY_PLANTED", "TEST_PRIVACY_TEXT")


PATCHES: dict[str, tuple[str, Callable[..., Any]]] = {
    "services.edge.endpoints.chat.to_work": ("to_proto", _breaks("break-edge")),
    "services.auth.domain.key": ("mint", _breaks("break-auth")),
    "services.quota.domain.reserve": ("reserve", _breaks("break-quota")),
    "services.inference.domain.limits": ("check", _breaks("break-inference")),
    "services.inference.images.decoders": ("ENVIRONMENT", _lets_defects_through),
    "services.inference.images.picture": ("rewrite", _breaks("break-decoder")),
    "muhgpt_cli.system": ("find", _breaks("break-cli")),
    "servicekit.process.run": ("run", _plants),
}


class _Finder(importlib.abc.MetaPathFinder):
    """Changes a module's function once the module has been executed, before anybody can take it from there."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name not in PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            function, change = PATCHES[name]
            setattr(module, function, change(getattr(module, function)))

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if PLANTED:
    sys.meta_path.insert(0, _Finder())
