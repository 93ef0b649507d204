"""The bootstrap Job's command against the Kubernetes API's part that it uses, with the rights of its Role."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy.engine import make_url

from muhgpt_cli.bootstrap.authority import Authority
from muhgpt_cli.bootstrap.secrets import ROLES
from servicekit.tls.directory import TlsDirectory
from tests.deploy.conftest import rendered
from tests.deploy.smoke.standin.secrets_api import SecretsApi

RUN = 60.0  # seconds
EVERYTHING = {"postgres", "auth-database", "quota-database", "muhgpt-authority", *(f"{role}-tls" for role in ROLES)}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[SecretsApi]:
    rules = rendered("local").get("Role", "bootstrap")["rules"]
    with SecretsApi(tmp_path / "serviceaccount", "muhgpt", rules) as server:
        yield server


def bootstrap(api: SecretsApi, **variables: str) -> subprocess.CompletedProcess[str]:
    """The Job's command, with what its pod finds."""
    command = rendered("local").workload("bootstrap").containers[0]["command"]
    return subprocess.run(
        [sys.executable, *command[1:]], env=api.variables | variables, capture_output=True, text=True, timeout=RUN
    )


def test_the_job_makes_every_secret_that_the_base_expects(api: SecretsApi) -> None:
    done = bootstrap(api)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(api.data()) == EVERYTHING
    assert api.refused == []


def test_it_tells_what_it_made_and_no_secret(api: SecretsApi) -> None:
    done = bootstrap(api)
    assert "auth-tls" in done.stdout
    for data in api.data().values():
        for value in data.values():
            assert value.decode() not in done.stdout + done.stderr


def test_a_second_run_changes_nothing(api: SecretsApi) -> None:
    bootstrap(api)
    before = api.data()
    assert bootstrap(api).stdout == "everything was there\n"
    assert api.data() == before


@pytest.mark.parametrize("lost", ["auth-database", "edge-tls"])
def test_what_an_interrupted_run_left_out_is_made_to_fit(api: SecretsApi, lost: str, tmp_path: Path) -> None:
    bootstrap(api)
    del api.secrets[lost]
    assert bootstrap(api).stdout == f"made: {lost}\n"
    _check_databases(api)
    _check_certificates(api, tmp_path)


def test_urls_carry_the_passwords_that_postgresql_gets(api: SecretsApi) -> None:
    bootstrap(api)
    _check_databases(api)


def test_services_take_the_certificates(api: SecretsApi, tmp_path: Path) -> None:
    bootstrap(api)
    _check_certificates(api, tmp_path)


def test_a_certificate_is_good_for_a_year_and_its_authority_for_ten() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    authority = Authority.create(now)
    issued = x509.load_pem_x509_certificate(authority.issue("edge", now)["tls.crt"])
    assert issued.not_valid_after_utc == now + timedelta(days=365)
    assert authority.certificate.not_valid_after_utc == now + timedelta(days=3650)


def test_a_right_that_is_missing_is_said(api: SecretsApi) -> None:
    api.forbid_all()
    done = bootstrap(api)
    assert done.returncode == 2
    assert "did not make the Secret postgres: HTTP 403" in done.stderr


def test_an_api_that_does_not_answer_is_said(api: SecretsApi) -> None:
    done = bootstrap(api, KUBERNETES_SERVICE_PORT="1")
    assert done.returncode == 2
    assert "the Kubernetes API at localhost does not answer" in done.stderr


def test_a_pod_without_a_token_is_told_what_it_needs(api: SecretsApi, tmp_path: Path) -> None:
    done = bootstrap(api, MUHGPT_BOOTSTRAP_IDENTITY=str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "automountServiceAccountToken: true" in done.stderr


def _check_databases(api: SecretsApi) -> None:
    data = api.data()
    for service in ("auth", "quota"):
        url = make_url(data[f"{service}-database"]["url"].decode())
        assert (url.host, url.port, url.database, url.username) == ("postgres", 5432, service, service)
        assert url.password == data["postgres"][service].decode()


def _check_certificates(api: SecretsApi, folder: Path) -> None:
    for role in ROLES:
        place = folder / role
        place.mkdir()
        for name, content in api.data()[f"{role}-tls"].items():
            (place / name).write_bytes(content)
        TlsDirectory(place, role)  # raises unless the certificate is the role's, in time, and signed by its authority
