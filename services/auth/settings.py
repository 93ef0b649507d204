"""Auth's settings, from MUHGPT_AUTH_… in the environment."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from servicekit.settings import DatabaseSettings, ServiceSettings
from services.auth.domain.limits import MAX_REQUESTS_PER_MINUTE


class AuthDatabaseSettings(DatabaseSettings):
    """Where accounts and keys are."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="MUHGPT_AUTH_")

    database_url: str = Field("sqlite:///auth.db", description="sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME")


class AuthSettings(ServiceSettings, AuthDatabaseSettings):
    """Read once, in main."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_prefix="MUHGPT_AUTH_")

    migrate: bool = Field(True, description="bring the database up to date at start; else only check that it is")
    newer_schema: Literal["serve", "refuse"] = Field(
        "serve", description="what to do when a later version has changed the database's schema"
    )
    default_requests_per_minute: int = Field(
        60, ge=1, le=MAX_REQUESTS_PER_MINUTE, description="for accounts that have no limit of their own"
    )
    default_max_open_streams: int = Field(
        64, ge=1, le=100_000, description="answers an account may have open at once on one edge worker"
    )
    session_ttl: float = Field(
        5.0, ge=0.5, le=60, description="seconds that an edge which lost auth may trust its cache of keys"
    )
