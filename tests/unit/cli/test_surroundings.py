"""What is checked before anything is started."""

from __future__ import annotations

import socket

import pytest

from muhgpt_cli.errors import CliError
from muhgpt_cli.local.preflight import check_environment, check_port, for_services


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(CliError, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*--port"):
            check_port("127.0.0.1", port)


def test_a_free_port_passes() -> None:
    check_port("127.0.0.1", 0)


def test_a_host_of_another_machine_is_refused() -> None:
    with pytest.raises(CliError, match=r"cannot listen on 192\.0\.2\.1"):
        check_port("192.0.2.1", 8000)


def test_a_variable_of_no_service_is_refused() -> None:
    with pytest.raises(CliError, match="MUHGPT_AUHT_LISTEN: no service is called 'auht'"):
        check_environment({"MUHGPT_AUHT_LISTEN": "x", "HOME": "/"})


@pytest.mark.parametrize("name", ["MUHGPT_AUTH_LISTEN", "MUHGPT_EDGE_WORKERS", "MUHGPT_QUOTA_OPERATOR_TOKEN_FILE"])
def test_what_up_decides_itself_cannot_be_set_from_outside(name: str) -> None:
    with pytest.raises(CliError, match=f"decides {name} itself"):
        check_environment({name: "x"})


def test_settings_of_services_and_of_the_command_line_pass() -> None:
    check_environment({"MUHGPT_AUTH_DATABASE_URL": "x", "MUHGPT_CLI_BASE_URL": "x", "MUHGPT_API_KEY": "x"})


def test_services_do_not_see_the_users_key() -> None:
    environment = {
        "MUHGPT_API_KEY": "x",
        "MUHGPT_CLI_OPERATOR_TOKEN": "x",
        "MUHGPT_AUTH_LOG_LEVEL": "debug",
        "PATH": "/",
    }
    assert for_services(environment) == {"MUHGPT_AUTH_LOG_LEVEL": "debug", "PATH": "/"}
