"""Addresses of the stand-in: one of loopback for each pod, and what names of Services become."""

from __future__ import annotations

import re

from tests.deploy.rendered import Manifests, Workload, selects

# 127.0.<number>.<replica>: Linux answers on all of 127.0.0.0/8 without being told.
NUMBERS = {"postgres": 10, "auth": 11, "quota": 12, "inference": 13, "edge": 14, "operator": 15, "bootstrap": 16}
VIRTUAL = "127.0.20.1"  # of the Service `edge`, as a cluster's virtual address


def address(workload: str, replica: int = 1) -> str:
    """A pod's own address."""
    return f"127.0.{NUMBERS[workload]}.{replica}"


class Names:
    """What a cluster's DNS does, done to the text: a headless Service's name becomes the list of its replicas'
    addresses, which edges take as it is; the edge's becomes its virtual address, another's its one pod's."""

    def __init__(self, manifests: Manifests, replicas: dict[str, int]) -> None:
        self._manifests = manifests
        self._replicas = replicas

    def resolve(self, value: str, *, all_replicas: bool = True) -> str:
        """A setting or a Secret's value with every `service:port` in it replaced."""
        for service in self._manifests.of("Service"):
            name = service["metadata"]["name"]
            pattern = rf"(?:^|(?<=[,@])|(?<=http://)){name}:(\d+)"  # not a user's name and password in a URL
            found = re.search(pattern, value)
            if found:
                value = re.sub(pattern, self._addresses(service, found[1], all_replicas), value)
        return value

    def _addresses(self, service: dict, port: str, all_replicas: bool) -> str:  # type: ignore[type-arg]
        behind = self._behind(service)
        if behind.name == "edge":
            return f"{VIRTUAL}:{port}"
        headless = service["spec"].get("clusterIP") == "None"
        number = self._replicas[behind.name] if headless and all_replicas else 1
        return ",".join(f"{address(behind.name, each)}:{port}" for each in range(1, number + 1))

    def _behind(self, service: dict) -> Workload:  # type: ignore[type-arg]
        selector = {"matchLabels": service["spec"]["selector"]}
        return next(each for each in self._manifests.workloads if selects(selector, each.labels))
