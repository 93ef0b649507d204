"""Which Secrets the platform needs (deploy/k8s/base/kustomization.yaml), and what is in each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from muhgpt_cli.bootstrap.authority import Authority
from muhgpt_cli.bootstrap.cluster import TLS, Secrets

ROLES = ("auth", "quota", "inference", "edge", "operator")
WITH_DATABASE = ("auth", "quota")
DATABASE_HOST = "postgres:5432"


def ensure_all(secrets: Secrets, now: datetime, new_password: Callable[[], str]) -> list[str]:
    """Makes what is missing and names it. Safe to repeat at any point: what others are made from comes first.

    new_password: a random text that can stand in a URL. Raises StartupError.
    """
    return _databases(secrets, new_password) + _certificates(secrets, now)


def _databases(secrets: Secrets, new_password: Callable[[], str]) -> list[str]:
    names = ("password", *WITH_DATABASE)
    made = ["postgres"] if secrets.ensure("postgres", lambda: {name: new_password().encode() for name in names}) else []
    passwords = secrets.read("postgres")
    for service in WITH_DATABASE:
        url = b"postgresql://%b:%b@%b/%b" % (
            service.encode(),
            passwords[service],
            DATABASE_HOST.encode(),
            service.encode(),
        )
        if secrets.ensure(f"{service}-database", lambda url=url: {"url": url}):  # type: ignore[misc]
            made.append(f"{service}-database")
    return made


def _certificates(secrets: Secrets, now: datetime) -> list[str]:
    made = []
    if secrets.ensure("muhgpt-authority", lambda: Authority.create(now).data(), TLS):
        made.append("muhgpt-authority")
    authority = Authority.read(secrets.read("muhgpt-authority"))
    for role in ROLES:
        if secrets.ensure(f"{role}-tls", lambda role=role: authority.issue(role, now), TLS):  # type: ignore[misc]
            made.append(f"{role}-tls")
    return made
