"""Settings: frozen, read once in main, from the environment; what is wrong is said by name at start."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from servicekit.errors import StartupError
from servicekit.rpc.address import Address, parse_endpoint

PREFIX = "MUHGPT_"


def _check_address(text: str) -> str:
    try:
        Address.parse(text)
    except StartupError:
        raise ValueError("must be host:port, as 127.0.0.1:8000") from None
    return text


def _check_endpoint(text: str) -> str:
    try:
        parse_endpoint(text)
    except StartupError:
        raise ValueError("must be host:port, as 127.0.0.1:8000, or unix:/PATH") from None
    return text


def _check_endpoints(text: str) -> str:
    for part in text.split(","):
        _check_endpoint(part.strip())
    return text


HostPort = Annotated[str, AfterValidator(_check_address)]
Endpoint = Annotated[str, AfterValidator(_check_endpoint)]  # host:port or unix:/PATH
Endpoints = Annotated[str, AfterValidator(_check_endpoints)]  # several, separated by commas


class ProcessSettings(BaseSettings):
    """What every process takes. A service's class sets env_prefix to "MUHGPT_<SERVICE>_"."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    metrics_listen: HostPort | None = Field(None, description="host:port for Prometheus over HTTP; absent: not served")
    drain_timeout: float = Field(30.0, gt=0, le=3600, description="seconds that SIGTERM leaves to open streams")
    edge_token_file: Path | None = Field(None, description="file with the token by which edges are known without TLS")
    address_file: Path | None = Field(None, description="file that gets the bound host:port once the process serves")
    tls_directory: Path | None = Field(
        None, description="directory with tls.crt, tls.key and ca.crt; absent: plaintext between services"
    )
    plaintext: bool = Field(False, description="allows plaintext between services beyond loopback")


class ServiceSettings(ProcessSettings):
    """What a gRPC service takes."""

    listen: Endpoint = Field(
        "127.0.0.1:0",
        description="host:port to serve gRPC on, port 0 takes a free one; or unix:/PATH, in a folder of its own",
    )
    operator_token_file: Path | None = Field(
        None, description="file with the token by which operators are known without TLS"
    )
    health_listen: HostPort | None = Field(
        None, description="host:port for grpc.health.v1 alone, in plaintext, for probes that speak no TLS"
    )


class DatabaseSettings(BaseSettings):
    """What a service with data takes beside, and all that its migrate command needs."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    database_url: str = Field(description="sqlite:///PATH, or postgresql://USER:PASSWORD@HOST/DATABASE for replicas")
    database_schema: str | None = Field(
        None, pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="PostgreSQL schema of the tables; made when missing"
    )
    database_ca_file: Path | None = Field(
        None, description="file with the authority (PEM) of PostgreSQL's certificate, which must be for the URL's host"
    )


Settings = TypeVar("Settings", bound=BaseSettings)


def load(
    cls: type[Settings], environment: Mapping[str, str] | None = None, *, part_of: type[BaseSettings] | None = None
) -> Settings:
    """Reads a settings class. Raises StartupError naming every variable that is missing, wrong or unknown.

    `part_of`: cls needs only some of that class's settings; the others may be set, and are left alone.
    """
    environment = os.environ if environment is None else environment
    prefix = str(cls.model_config.get("env_prefix", ""))
    problems = _unknown(part_of or cls, prefix, environment)
    try:
        settings = cls()
    except ValidationError as error:
        problems += [_explain(prefix, dict(item)) for item in error.errors()]
        raise StartupError("\n".join(problems)) from None
    if problems:
        raise StartupError("\n".join(problems))
    return settings


def read_secret(path: Path) -> str:
    """The content of a secret's file, without surrounding white space. Raises StartupError when there is none.

    A name that leads nowhere is not repeated: it may be the secret itself, put where its file belongs (G11).
    """
    try:
        secret = path.read_text().strip()
    except OSError as error:
        shown = f" {path}" if path.parent != Path() and path.parent.is_dir() else "'s file"
        raise StartupError(
            f"cannot read the secret{shown}: {error.strerror}; create the file, or correct the setting …_TOKEN_FILE,"
            " which names the file and does not hold the secret"
        ) from None
    except UnicodeDecodeError:
        raise StartupError(f"the secret in {path} is not text; write a random one of letters and digits") from None
    if not (secret.isascii() and secret.isprintable()):
        raise StartupError(f"the secret in {path} holds more than printable ASCII; write letters and digits")
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
    """Says what it should be, and not what it is: a password can stand in the wrong variable (G11)."""
    location = item.get("loc")
    name = prefix + str(location[0]).upper() if isinstance(location, tuple) and location else prefix + "…"
    if item.get("type") == "missing":
        return f"setting {name} is missing"
    if not location:  # a rule over several settings
        return f"settings {name}: {str(item.get('msg')).removeprefix('Value error, ')}"
    return f"setting {name}: {str(item.get('msg')).removeprefix('Value error, ')}"
