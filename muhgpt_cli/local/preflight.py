"""What must hold before anything is started: a free port, and an environment that means what it says."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from muhgpt_cli.errors import CliError

SERVICES = ("auth", "quota", "inference", "edge")
OURS = ("MUHGPT_CLI_", "MUHGPT_API_KEY")
# What `muhgpt up` decides itself; from outside it would be overruled in silence.
DECIDED = ("LISTEN", "ADDRESS_FILE", "EDGE_TOKEN_FILE", "OPERATOR_TOKEN_FILE", "TLS_DIRECTORY")
DECIDED_FOR_EDGE = ("WORKERS", "AUTH_ADDRESS", "QUOTA_ADDRESS", "INFERENCE_ADDRESS")


def check_port(host: str, port: int) -> None:
    """Raises CliError when nothing can listen there. Port 0 is any free one."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise CliError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what listens there, or choose another with --port"
        ) from None


def check_environment(environment: Mapping[str, str]) -> None:
    """Raises CliError for a MUHGPT_… variable that no process would read, or that `muhgpt up` decides itself."""
    for name in sorted(environment):
        if name.startswith("MUHGPT_") and not name.startswith(OURS):
            _check_variable(name)


def _check_variable(name: str) -> None:
    service, _, setting = name.removeprefix("MUHGPT_").partition("_")
    if service.lower() not in SERVICES:
        known = ", ".join(f"MUHGPT_{known.upper()}_…" for known in SERVICES)
        raise CliError(f"unknown setting {name}: no service is called {service.lower()!r}; settings begin with {known}")
    if setting in DECIDED or (service == "EDGE" and setting in DECIDED_FOR_EDGE):
        raise CliError(f"`muhgpt up` decides {name} itself; unset it, and see `muhgpt up --help`")


def for_services(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what belongs to the command line alone."""
    return {name: value for name, value in environment.items() if not name.startswith(OURS)}
