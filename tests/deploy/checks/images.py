"""Images are targets of the Dockerfile, of one tag; commands are modules and programs that they hold."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from tests.deploy.checks.platform import SERVICES, target, targets
from tests.deploy.rendered import Document, Manifests, Workload

PROGRAMS = {"sleep"}  # of Debian
# Whose code each image may run.
PACKAGES = {"cli": ("muhgpt_cli.",), **{name: (f"services.{name}.",) for name in SERVICES}}


def problems(manifests: Manifests) -> list[str]:
    """Each image that `make images` does not make, each command that is not in its image."""
    found = []
    for workload in manifests.workloads:
        for container in workload.all_containers:
            found += (f"{workload}, container {container['name']}: {each}" for each in _one(workload, container))
    return found


def _one(workload: Workload, container: Document) -> Iterator[str]:
    name = target(container)
    if name is None:
        if ":" not in container["image"].rpartition("/")[2]:
            yield f"the image {container['image']} has no tag"
        if "muhgpt" in container["image"]:
            yield f"the image {container['image']} is not what `make images` calls them"
        return
    if name not in targets():
        yield f"the Dockerfile has no target {name}"
        return
    if workload.name in SERVICES and name != workload.name:
        yield f"the image of {name} runs as {workload.name}"
    yield from _command(name, container.get("command") or targets()[name])


def _command(name: str, command: list[str]) -> Iterator[str]:
    if command[:2] == ["python", "-m"]:
        if not command[2].startswith(PACKAGES[name]):
            yield f"the image of {name} has no business with {command[2]}"
        elif find_spec(command[2]) is None:
            yield f"there is no module {command[2]}"
    elif command[0] not in PROGRAMS:
        yield f"{command[0]} is no program of the image"
