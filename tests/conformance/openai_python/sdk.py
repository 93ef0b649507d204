"""The SDK as its users make it, and what this version of it has."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from surroundings import BASE_URL, HELLO, KEY

VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])


def needs(major: int, minor: int, what: str) -> pytest.MarkDecorator:
    """Leaves a check out where the SDK is older than what it checks; every later one is known to have it."""
    reason = f"openai {openai.__version__} has no {what} yet"
    return pytest.mark.skipif((major, minor) > VERSION, reason=reason)


@contextmanager
def client(key: str = KEY, **options: Any) -> Iterator[openai.OpenAI]:
    """A client that retries only when it is asked to."""
    with openai.OpenAI(base_url=BASE_URL, api_key=key, **{"max_retries": 0, "timeout": 60.0, **options}) as made:
        yield made


def ask(of: Any, **fields: Any) -> Any:
    """A chat completion. What an old SDK has no argument for goes into the body as its users had to do it."""
    return of.chat.completions.create(**known(of.chat.completions.create, fields))


def known(method: Callable[..., Any], fields: dict[str, Any]) -> dict[str, Any]:
    """The call's arguments, with defaults of these checks."""
    fields = {"model": "muh-chat", "messages": HELLO, **fields}
    names = inspect.signature(method).parameters
    extra = {name: fields.pop(name) for name in [*fields] if name not in names}
    return {**fields, "extra_body": extra} if extra else fields


def helpers(of: Any, name: str) -> Any:
    """Where this version has `parse` or `stream`: below `beta` at first."""
    return of.chat.completions if hasattr(of.chat.completions, name) else of.beta.chat.completions


class Counted:
    """An HTTP client that remembers the requests made with it."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.client = httpx.Client(event_hooks={"request": [self.requests.append]})
