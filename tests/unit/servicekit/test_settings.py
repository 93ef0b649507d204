"""Settings: what is wrong is said by name at start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from muhgpt_cli.system import CliSettings
from servicekit.errors import StartupError
from servicekit.rpc.address import Address
from servicekit.settings import load, read_secret
from services.auth.settings import AuthSettings
from services.edge.settings import EdgeSettings
from services.inference.settings import InferenceSettings
from services.quota.settings import QuotaSettings
from tests.canary_words import Canaries, Output


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
    assert "must be a valid number" in str(caught.value).replace("should", "must")
    assert "soon" not in str(caught.value)


def test_a_secret_must_exist_and_be_long_enough(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="cannot read the secret"):
        read_secret(tmp_path / "nothing")
    with pytest.raises(StartupError, match="names the file and does not hold the secret") as caught:
        read_secret(Path("a-token-where-its-file-belongs"))
    assert "a-token" not in str(caught.value)
    for content in (b"two lines\nof 16 characters", "sixteen times ä, no".encode(), b"\xff" * 20):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(StartupError, match=str(tmp_path / "odd")):
            read_secret(tmp_path / "odd")
    (tmp_path / "short").write_text("short\n")
    with pytest.raises(StartupError, match="shorter than 16"):
        read_secret(tmp_path / "short")
    (tmp_path / "good").write_text("0123456789abcdef\n")
    assert read_secret(tmp_path / "good") == "0123456789abcdef"


CLASSES: tuple[type[BaseSettings], ...] = (AuthSettings, QuotaSettings, InferenceSettings, EdgeSettings, CliSettings)
SETTINGS = [(cls, name) for cls in CLASSES for name in cls.model_fields]


@pytest.mark.parametrize(("cls", "name"), SETTINGS, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("value", ["{}", "postgresql://muhgpt:{}@db/auth", "{}:{}", "x={}", "127.0.0.1:1,{}"])
def test_a_password_in_the_wrong_setting_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, cls: type[BaseSettings], name: str, value: str
) -> None:
    canaries = Canaries()
    prefix = str(cls.model_config.get("env_prefix"))
    monkeypatch.setenv(f"{prefix}{name.upper()}", value.format(*[canaries.word(name)] * 2))
    said = ""
    try:
        load(cls)
    except StartupError as error:  # not every setting finds fault with every value
        said = str(error)
    assert canaries.leaks_in([Output("the error", said.encode())]) == []


@pytest.mark.parametrize("setting", ["listen", "metrics_listen"])
def test_what_is_no_address_is_refused_with_the_settings_name(environment: pytest.MonkeyPatch, setting: str) -> None:
    environment.setenv(f"MUHGPT_QUOTA_{setting.upper()}", "nowhere")
    with pytest.raises(StartupError, match=f"MUHGPT_QUOTA_{setting.upper()}: must be host:port"):
        load(QuotaSettings)


@pytest.mark.parametrize("text", ["8000", "host:", ":1", "host:port", "host:70000", ""])
def test_what_is_no_address_is_shown(text: str) -> None:
    with pytest.raises(StartupError, match="is not an address"):
        Address.parse(text)


def test_ipv6_addresses_keep_their_brackets() -> None:
    assert str(Address.parse("[::1]:80")) == "[::1]:80"
    assert str(Address.parse("127.0.0.1:80")) == "127.0.0.1:80"
