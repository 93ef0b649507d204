"""Variables are settings of the service that gets them, and valid; required ones are given; files that they name are
mounted; addresses lead to Services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from tests.deploy.checks import mounts
from tests.deploy.checks.platform import SETTINGS, target
from tests.deploy.checks.secrets import TLS_KEYS, expected
from tests.deploy.rendered import Document, Manifests, Workload

STAND_IN = "postgresql://user:password@host/database"  # for values that come from a Secret


def problems(manifests: Manifests) -> list[str]:
    """Each variable that a service would refuse at its start, or that leads nowhere."""
    found = list(_headless(manifests))
    for workload in manifests.workloads:
        for container in workload.all_containers:
            name = target(container)
            values = {
                key: value for key, value in manifests.environment(container).items() if key.startswith("MUHGPT_")
            }
            if name is None:
                found += [f"{workload}: {key} goes to an image that is not ours" for key in values]
            elif values or workload.name == name:
                found += _values(workload, name, values)
                found += _files(manifests, workload, container, values)
                found += _addresses(manifests, workload, values)
    return found


def _values(workload: Workload, service: str, values: dict[str, str | Document]) -> Iterator[str]:
    cls = SETTINGS[service]
    prefix = str(cls.model_config["env_prefix"])
    fields = {}
    for key, value in values.items():
        field = key.removeprefix(prefix).lower()
        if not key.startswith(prefix) or field not in cls.model_fields:
            yield f"{workload}: {key} is no setting of {service}"
        else:
            fields[field] = value if isinstance(value, str) else STAND_IN
    try:
        cls(**fields)
    except ValidationError as error:
        for each in error.errors():
            yield f"{workload}: {prefix}{str(each['loc'][0]).upper()}: {each['msg']}"


def _files(
    manifests: Manifests, workload: Workload, container: Document, values: dict[str, str | Document]
) -> Iterator[str]:
    there = {each.path for each in mounts.files(manifests, expected(manifests), workload, container)}
    for key, value in values.items():
        path = Path(str(value))
        if key.endswith("_TLS_DIRECTORY"):
            missing = [name for name in TLS_KEYS if str(path / name) not in there]
        else:
            missing = [path.name] if key.endswith("_FILE") and str(path) not in there else []
        yield from (f"{workload}: {key} is {value}, and {name} is not mounted there" for name in missing)


def _addresses(manifests: Manifests, workload: Workload, values: dict[str, str | Document]) -> Iterator[str]:
    for key, value in values.items():
        if not key.endswith(("_ADDRESS", "_BASE_URL")):
            continue
        host, _, port = str(value).removeprefix("http://").removesuffix("/v1").partition(":")
        service = manifests.named("Service", host)
        ports = [each["port"] for each in service["spec"]["ports"]] if service else []
        if not port.isdecimal() or int(port) not in ports:
            yield f"{workload}: {key} is {value}, and there is no such Service with that port"
        elif key.startswith("MUHGPT_EDGE_") and service and service["spec"].get("clusterIP") != "None":
            yield f"{workload}: {key} is {value}, and that Service is not headless, so the edge would see one replica"


def _headless(manifests: Manifests) -> Iterator[str]:
    """Services without an address of their own, but for those whose replicas edges balance among."""
    edge = manifests.workload("edge").containers[0]
    values = [str(value) for key, value in manifests.environment(edge).items() if key.endswith("_ADDRESS")]
    balanced = {value.partition(":")[0] for value in values}
    for service in manifests.of("Service"):
        name = service["metadata"]["name"]
        if service["spec"].get("clusterIP") == "None" and name not in balanced:
            yield f"Service {name} is headless: a pod that comes back is found when DNS caches expire"
