"""Where the running system is: told by the environment, or by the data directory of `muhgpt up`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from muhgpt_cli.errors import CliError
from servicekit.errors import StartupError
from servicekit.rpc.client import check_plaintext
from servicekit.settings import load, read_secret
from servicekit.tls.directory import TlsDirectory

DEFAULT_DATA_DIR = Path(".muhgpt")
RUN_FILE = "run.json"
SERVICES = ("auth", "quota", "inference")  # that this program gives its token
OPERATOR_TOKEN_FILE = "operator.token"


class CliSettings(BaseSettings):
    """What the command line takes from the environment, to reach a system that it did not start."""

    model_config = SettingsConfigDict(env_prefix="MUHGPT_CLI_", frozen=True, extra="forbid")

    auth_address: str | None = None
    quota_address: str | None = None
    inference_address: str | None = None
    base_url: str | None = None
    operator_token: str | None = None
    operator_token_file: Path | None = None
    tls_directory: Path | None = None
    plaintext: bool = False


@dataclass(frozen=True)
class System:
    """A running system as far as it is known. `source` says in messages where the knowledge comes from."""

    source: str
    addresses: Mapping[str, str]
    known_base_url: str | None = None
    known_token: str | None = None
    tls: TlsDirectory | None = None

    def address(self, service: str) -> str:
        """host:port of auth, quota or inference. Raises CliError when it is not known."""
        if service not in self.addresses:
            raise CliError(f"the address of {service} is not known; set MUHGPT_CLI_{service.upper()}_ADDRESS")
        return self.addresses[service]

    @property
    def base_url(self) -> str:
        """What an OpenAI SDK takes as base_url, "http://host:port/v1". Raises CliError when it is not known."""
        if self.known_base_url is None:
            raise CliError("the base URL is not known; set MUHGPT_CLI_BASE_URL, for example http://127.0.0.1:8000/v1")
        return self.known_base_url.rstrip("/")

    @property
    def operator_token(self) -> str | None:
        """The secret by which operators are known; None with TLS, where the certificate says who we are.

        Raises CliError when there is neither.
        """
        if self.tls is not None:
            return None
        if self.known_token is None:
            raise CliError(
                "the operator token is not known; set MUHGPT_CLI_OPERATOR_TOKEN_FILE to its file, "
                "or MUHGPT_CLI_TLS_DIRECTORY to the operator's certificate"
            )
        return self.known_token


def find(data_dir: Path | None) -> System:
    """The system to talk to: a data directory that was named, else the environment, else ./.muhgpt.

    Raises CliError that says what is missing or wrong.
    """
    try:
        settings = load(CliSettings)
        told = settings.model_dump(exclude_defaults=True)
        if data_dir is None and told:
            return _from_environment(settings)
        return _from_data_dir(data_dir or DEFAULT_DATA_DIR)
    except StartupError as error:
        raise CliError(str(error)) from None


def _from_environment(settings: CliSettings) -> System:
    named = {
        "auth": settings.auth_address,
        "quota": settings.quota_address,
        "inference": settings.inference_address,
    }
    addresses = {name: address for name, address in named.items() if address}
    tls = TlsDirectory(settings.tls_directory, "operator") if settings.tls_directory else None
    if tls is None and not settings.plaintext:
        for address in addresses.values():
            check_plaintext(address, prefix="MUHGPT_CLI_")
    token = settings.operator_token
    if token is None and settings.operator_token_file is not None:
        token = read_secret(settings.operator_token_file)
    return System(
        source="the environment",
        addresses=addresses,
        known_base_url=settings.base_url,
        known_token=token,
        tls=tls,
    )


def _from_data_dir(data_dir: Path) -> System:
    path = data_dir / RUN_FILE
    try:
        run = json.loads(path.read_text())
        pid, addresses, base_url = int(run["pid"]), dict(run["addresses"]), str(run["base_url"])
    except FileNotFoundError:
        raise CliError(
            f"no system is running in {data_dir}; start it with `muhgpt up`, or name another directory with --data-dir"
        ) from None
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise CliError(f"{path} is damaged; stop the system and start it again with `muhgpt up`") from None
    if not alive(pid):
        raise CliError(
            f"the system in {data_dir} is not running any more (process {pid} is gone); start it with `muhgpt up`"
        )
    for service in SERVICES:
        if service in addresses:
            check_plaintext(addresses[service], prefix="MUHGPT_CLI_")
    return System(str(data_dir), addresses, base_url, read_secret(data_dir / OPERATOR_TOKEN_FILE))


def alive(pid: int | None) -> bool:
    """Whether a process runs; None is none."""
    if pid is None:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
