"""Quota's settings, MUHGPT_QUOTA_…"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from servicekit.settings import DatabaseSettings, ServiceSettings


class QuotaDatabaseSettings(DatabaseSettings):
    """Where the books are."""

    model_config = SettingsConfigDict(env_prefix="MUHGPT_QUOTA_", frozen=True, extra="forbid")


class QuotaSettings(ServiceSettings, QuotaDatabaseSettings):
    """Read once, in main."""

    model_config = SettingsConfigDict(env_prefix="MUHGPT_QUOTA_", frozen=True, extra="forbid")

    migrate: bool = Field(True, description="bring the database up to date at start; else only check that it is")
    newer_schema: Literal["serve", "refuse"] = Field(
        "serve", description="what to do when a later version has changed the database's schema"
    )
    database_synchronous: Literal["NORMAL", "FULL"] = Field(
        "NORMAL", description="SQLite: NORMAL survives a crash of the process, FULL a power cut too"
    )
    models_file: Path | None = Field(None, description="model list with prices; absent: the one that comes with it")
    writers: int = Field(4, ge=1, le=64, description="PostgreSQL: transactions at once; SQLite has one")
    lease: float = Field(10.0, ge=1, le=300, description="seconds a silent edge's holds live")
    retention_months: int | None = Field(
        None, ge=1, le=1200, description="whole months of charges kept beside the current one; absent: all"
    )
    books_interval: float = Field(
        900.0,
        gt=0,
        le=86_400,
        description="seconds between counts of all books for the metrics; once a day every line is read",
    )
    losses_per_day_limit: int | None = Field(
        None,
        ge=1,
        le=10**15,
        description="credits that an account may cost the operator in a UTC day (muhgpt losses); above, it is refused"
        " until the day ends; absent: any",
    )
    sweep_interval: float = Field(2.0, gt=0, le=60, description="seconds between looks for lapsed holds")
