"""What the bootstrap Job reads from its pod."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class BootstrapSettings(BaseSettings):
    """Kubernetes puts all of it into every pod that has a service account's token."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    kubernetes_service_host: str = Field(description="host of the Kubernetes API")
    kubernetes_service_port: int = Field(443, description="its port")
    muhgpt_bootstrap_identity: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"), description="directory with token, ca.crt and namespace"
    )
