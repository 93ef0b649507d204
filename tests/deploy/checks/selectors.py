"""Whatever names or selects something else finds it: labels, Services, ports, budgets, autoscalers, roles."""

from __future__ import annotations

from collections.abc import Iterator

from tests.deploy.rendered import NAMESPACE, Document, Manifests, Workload, selects


def problems(manifests: Manifests) -> list[str]:
    """Each thing that points nowhere."""
    return [
        *_namespaces(manifests),
        *_own_selectors(manifests),
        *_services(manifests),
        *_budgets(manifests),
        *_autoscalers(manifests),
        *_ingresses(manifests),
        *_accounts(manifests),
    ]


def _namespaces(manifests: Manifests) -> Iterator[str]:
    for each in manifests.documents:
        if each["kind"] != "Namespace" and each["metadata"].get("namespace") != NAMESPACE:
            yield f"{each['kind']} {each['metadata']['name']} is not in the namespace {NAMESPACE}"
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") is None and each["kind"] == "Deployment":
            yield f"{each['kind']} {each['metadata']['name']} has no label app.kubernetes.io/part-of"


def _own_selectors(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        if workload.kind not in ("Deployment", "StatefulSet"):
            continue
        selector = workload.document["spec"]["selector"]
        if not selects(selector, workload.labels):
            yield f"{workload} does not select its own pods"
        others = [other for other in manifests.workloads if other.name != workload.name]
        yield from (f"{workload} selects the pods of {other}" for other in others if selects(selector, other.labels))
        for spread in workload.pod.get("topologySpreadConstraints", []):
            if not selects(spread["labelSelector"], workload.labels):
                yield f"{workload} spreads other pods than its own"


def _services(manifests: Manifests) -> Iterator[str]:
    for service in manifests.of("Service"):
        name = service["metadata"]["name"]
        behind = [each for each in manifests.workloads if selects(_match(service), each.labels)]
        if len(behind) != 1:
            yield f"Service {name} selects {len(behind)} workloads: {', '.join(map(str, behind)) or 'none'}"
        for port in service["spec"]["ports"]:
            for workload in behind:
                if port.get("targetPort") not in workload.ports:
                    yield f"Service {name}: {workload} has no port named {port.get('targetPort')!r}"
                elif service["spec"].get("clusterIP") == "None" and workload.ports[port["targetPort"]] != port["port"]:
                    yield f"Service {name} is headless, so its port must be the pod's: {port['port']}"
    for workload in manifests.workloads:
        if workload.kind == "StatefulSet" and not manifests.named("Service", workload.document["spec"]["serviceName"]):
            yield f"{workload}: there is no Service {workload.document['spec']['serviceName']}"


def _match(service: Document) -> Document:
    return {"matchLabels": service["spec"]["selector"]}


def _budgets(manifests: Manifests) -> Iterator[str]:
    budgets = manifests.of("PodDisruptionBudget")
    for budget in budgets:
        behind = _selected(manifests, budget["spec"]["selector"])
        if len(behind) != 1:
            yield f"PodDisruptionBudget {budget['metadata']['name']} selects {len(behind)} workloads"
    for service in ("auth", "quota", "inference", "edge"):
        labels = manifests.workload(service).labels
        if not any(selects(budget["spec"]["selector"], labels) for budget in budgets):
            yield f"{service} has no PodDisruptionBudget"


def _selected(manifests: Manifests, selector: Document) -> list[Workload]:
    return [each for each in manifests.workloads if selects(selector, each.labels)]


def _autoscalers(manifests: Manifests) -> Iterator[str]:
    for scaler in manifests.of("HorizontalPodAutoscaler"):
        name, target = scaler["metadata"]["name"], scaler["spec"]["scaleTargetRef"]
        document = manifests.named(target["kind"], target["name"])
        if document is None:
            yield f"HorizontalPodAutoscaler {name}: there is no {target['kind']} {target['name']}"
        elif "replicas" in document["spec"]:
            yield f"{target['kind']} {target['name']} has replicas, which overrule its autoscaler at each apply"


def _ingresses(manifests: Manifests) -> Iterator[str]:
    for ingress in manifests.of("Ingress"):
        hosts = {rule["host"] for rule in ingress["spec"]["rules"]}
        certified = {host for each in ingress["spec"]["tls"] for host in each["hosts"]}
        if hosts != certified:
            yield f"Ingress hosts {sorted(hosts)} have certificates for {sorted(certified)}"
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                service = manifests.named("Service", backend["name"])
                ports = {port["name"] for port in service["spec"]["ports"]} if service else set()
                if backend["port"].get("name") not in ports:
                    yield f"Ingress {path['path']}: there is no Service {backend['name']} with port {backend['port']}"


def _accounts(manifests: Manifests) -> Iterator[str]:
    for workload in manifests.workloads:
        account = workload.pod.get("serviceAccountName", "default")
        if account != "default" and manifests.named("ServiceAccount", account) is None:
            yield f"{workload}: there is no ServiceAccount {account}"
    for binding in manifests.of("RoleBinding"):
        if manifests.named("Role", binding["roleRef"]["name"]) is None:
            yield f"RoleBinding {binding['metadata']['name']}: there is no Role {binding['roleRef']['name']}"
        for subject in binding["subjects"]:
            if manifests.named("ServiceAccount", subject["name"]) is None:
                yield f"RoleBinding {binding['metadata']['name']}: there is no ServiceAccount {subject['name']}"
