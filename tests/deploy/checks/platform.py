"""What the code says about the services, for comparison with the manifests: settings classes, ports, images."""

from __future__ import annotations

import json
import re

from pydantic_settings import BaseSettings

from muhgpt_cli.system import CliSettings
from services.auth.settings import AuthSettings
from services.edge.settings import EdgeSettings
from services.inference.settings import InferenceSettings
from services.quota.settings import QuotaSettings
from tests.deploy.rendered import ROOT, Document

SETTINGS: dict[str, type[BaseSettings]] = {
    "auth": AuthSettings,
    "quota": QuotaSettings,
    "inference": InferenceSettings,
    "edge": EdgeSettings,
    "cli": CliSettings,
}
SERVICES = ("auth", "quota", "inference", "edge")
OURS = re.compile(r"^(?:[a-z0-9.-]+(?::\d+)?/)?muhgpt/(?P<target>[a-z]+)(?::[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$")


def target(container: Document) -> str | None:
    """The Dockerfile's target of a container's image; None for other people's images."""
    found = OURS.match(container["image"])
    return found["target"] if found else None


def targets() -> dict[str, list[str]]:
    """The Dockerfile's final targets, with their CMD."""
    text = (ROOT / "deploy/images/Dockerfile").read_text()
    stages = re.split(r"^FROM \S+ AS ", text, flags=re.MULTILINE)[1:]
    found = {}
    for stage in stages:
        command = re.search(r"^CMD (\[.*\])$", stage, re.MULTILINE)
        if command:
            found[stage.split()[0]] = json.loads(command[1])
    return found
