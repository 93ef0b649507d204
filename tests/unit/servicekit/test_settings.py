"""Settings: what is wrong is said by name at start."""

from __future__ import annotations

from pathlib import Path

import pytest

from servicekit.address import Address
from servicekit.errors import StartupError
from servicekit.settings import load, read_secret
from services.quota.settings import QuotaSettings


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("MUHGPT_QUOTA_DATABASE_URL", "sqlite:///x.db")
    monkeypatch.setenv("MUHGPT_QUOTA_EDGE_TOKEN_FILE", "edge")
    monkeypatch.setenv("MUHGPT_QUOTA_OPERATOR_TOKEN_FILE", "operator")
    return monkeypatch


def test_settings_come_from_the_environment_and_are_frozen(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MUHGPT_QUOTA_LEASE", "12.5")
    settings = load(QuotaSettings)
    assert (settings.lease, settings.database_url, settings.log_format) == (12.5, "sqlite:///x.db", "json")
    with pytest.raises(ValueError, match="frozen"):
        settings.lease = 1.0  # type: ignore[misc]


def test_an_unknown_setting_is_named_with_the_one_that_was_meant(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MUHGPT_QUOTA_LEESE", "12")
    with pytest.raises(StartupError, match="unknown setting MUHGPT_QUOTA_LEESE; did you mean MUHGPT_QUOTA_LEASE"):
        load(QuotaSettings)


def test_a_missing_and_a_wrong_setting_are_named_together(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("MUHGPT_QUOTA_DATABASE_URL")
    environment.setenv("MUHGPT_QUOTA_LEASE", "soon")
    with pytest.raises(StartupError) as caught:
        load(QuotaSettings)
    assert "MUHGPT_QUOTA_DATABASE_URL is missing" in str(caught.value)
    assert "MUHGPT_QUOTA_LEASE" in str(caught.value)
    assert "'soon'" in str(caught.value)


def test_a_secret_must_exist_and_be_long_enough(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot read the secret"):
        read_secret(tmp_path / "nothing")
    (tmp_path / "short").write_text("short\n")
    with pytest.raises(StartupError, match="shorter than 16"):
        read_secret(tmp_path / "short")
    (tmp_path / "good").write_text("0123456789abcdef\n")
    assert read_secret(tmp_path / "good") == "0123456789abcdef"


@pytest.mark.parametrize("text", ["8000", "host:", ":1", "host:port", "host:70000", ""])
def test_what_is_no_address_is_shown(text: str) -> None:
    with pytest.raises(StartupError, match="is not an address"):
        Address.parse(text)


def test_ipv6_addresses_keep_their_brackets() -> None:
    assert str(Address.parse("[::1]:80")) == "[::1]:80"
    assert str(Address.parse("127.0.0.1:80")) == "127.0.0.1:80"
