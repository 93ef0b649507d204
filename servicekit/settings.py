"""Settings: frozen, read once in main, from the environment; what is wrong is said by name at start."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from servicekit.errors import StartupError

PREFIX = "MUHGPT_"


class ProcessSettings(BaseSettings):
    """What every process takes. A service's class sets env_prefix to "MUHGPT_<SERVICE>_"."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_listen: str | None = Field(None, description="host:port for Prometheus over HTTP; absent: not served")
    drain_timeout: float = Field(30.0, gt=0, le=3600, description="seconds that SIGTERM leaves to open streams")
    edge_token_file: Path = Field(description="file with the token by which edges are known")
    address_file: Path | None = Field(None, description="file that gets the bound host:port once the process serves")


class ServiceSettings(ProcessSettings):
    """What a gRPC service takes."""

    listen: str = Field("127.0.0.1:0", description="host:port to serve gRPC on; port 0 takes a free one")
    operator_token_file: Path = Field(description="file with the token by which operators are known")


Settings = TypeVar("Settings", bound=BaseSettings)


def load(cls: type[Settings], environment: Mapping[str, str] | None = None) -> Settings:
    """Reads a settings class. Raises StartupError naming every variable that is missing, wrong or unknown."""
    environment = os.environ if environment is None else environment
    prefix = str(cls.model_config.get("env_prefix", ""))
    problems = _unknown(cls, prefix, environment)
    try:
        settings = cls()
    except ValidationError as error:
        problems += [_explain(prefix, dict(item)) for item in error.errors()]
        raise StartupError("\n".join(problems)) from None
    if problems:
        raise StartupError("\n".join(problems))
    return settings


def read_secret(path: Path) -> str:
    """The content of a secret's file, without surrounding white space. Raises StartupError when there is none."""
    try:
        secret = path.read_text().strip()
    except OSError as error:
        raise StartupError(
            f"cannot read the secret {path}: {error.strerror}; create it or correct the setting"
        ) from None
    if len(secret) < 16:
        raise StartupError(f"the secret in {path} is shorter than 16 characters; write a longer random one")
    return secret


def _unknown(cls: type[BaseSettings], prefix: str, environment: Mapping[str, str]) -> list[str]:
    known = {prefix + name.upper() for name in cls.model_fields}
    problems = []
    for name in sorted(environment):
        if name.upper().startswith(prefix) and name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(sorted(known))}"
            problems.append(f"unknown setting {name}{hint}")
    return problems


def _explain(prefix: str, item: dict[str, object]) -> str:
    location = item.get("loc")
    name = prefix + str(location[0]).upper() if isinstance(location, tuple) and location else prefix + "…"
    if item.get("type") == "missing":
        return f"setting {name} is missing"
    if not location:  # a rule over several settings: its input is all of them
        return f"settings {name}: {item.get('msg')}"
    return f"setting {name}: {item.get('msg')} (got {item.get('input')!r})"
