"""Kubernetes' `restricted` pod security standard, no token that is not needed, a read-only root, bounded memory.

https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.deploy.rendered import NAMESPACE, Document, Manifests, Workload

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
WITH_TOKEN = {"bootstrap"}  # the one that talks to the Kubernetes API


def problems(manifests: Manifests) -> list[str]:
    """Each thing that `restricted` refuses, and each that we promise beyond it."""
    labels = manifests.get("Namespace", NAMESPACE)["metadata"]["labels"]
    found = []
    if labels.get("pod-security.kubernetes.io/enforce") != "restricted":
        found.append(f"Namespace {NAMESPACE} does not enforce `restricted`")
    for workload in manifests.workloads:
        found += _pod(workload)
        for container in workload.all_containers:
            found += (f"{workload}, container {container['name']}: {each}" for each in _container(container))
    return found


def _pod(workload: Workload) -> Iterator[str]:
    pod, context = workload.pod, workload.pod.get("securityContext", {})
    if not context.get("runAsNonRoot") or not context.get("runAsUser"):
        yield f"{workload} may run as root"
    if context.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield f"{workload} has no seccomp profile"
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield f"{workload} uses the host's namespaces"
    for volume in pod.get("volumes", []):
        if not VOLUMES.intersection(volume):
            yield f"{workload}: volume {volume['name']} is of a kind that `restricted` refuses"
    if pod.get("automountServiceAccountToken", True) is not (workload.name in WITH_TOKEN):
        yield f"{workload}: automountServiceAccountToken is {pod.get('automountServiceAccountToken')}"
    if pod.get("enableServiceLinks", True):
        yield f"{workload} gets variables of every Service (enableServiceLinks)"


def _container(container: Document) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if context.get("capabilities", {}).get("drop") != ["ALL"] or context.get("capabilities", {}).get("add"):
        yield "keeps capabilities"
    if context.get("privileged") or context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
        yield "is privileged or root"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield "has a port of the host"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "may write to its root file system"
    resources = container.get("resources", {})
    if not {"cpu", "memory"} <= set(resources.get("requests", {})) or "memory" not in resources.get("limits", {}):
        yield "does not say what it needs, or has no bound of memory"
