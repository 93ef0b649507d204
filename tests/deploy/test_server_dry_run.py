"""What only a server can say: each overlay as a dry run against the cluster that KUBECONFIG names."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.deploy.checks import schemas
from tests.deploy.conftest import rendered
from tests.deploy.rendered import ALL, NAMESPACE, kubectl

DRY_RUN = 120.0  # seconds


def test_a_server_would_take_the_overlay(overlay: str) -> None:
    if kubectl() is None or not os.environ.get("KUBECONFIG"):
        pytest.skip("KUBECONFIG names no cluster: no server-side dry run")
    _need_namespace()
    _need_kinds(overlay)
    command = ["kubectl", "apply", "--dry-run=server", "--kustomize", str(ALL[overlay])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DRY_RUN)
    assert done.returncode == 0, done.stderr


def _need_namespace() -> None:
    command = ["kubectl", "get", "namespace", NAMESPACE]
    if subprocess.run(command, capture_output=True, timeout=DRY_RUN).returncode != 0:
        pytest.skip(f"the cluster has no namespace {NAMESPACE}, and a dry run makes none: kubectl create namespace")


def _need_kinds(overlay: str) -> None:
    command = ["kubectl", "api-resources", "--output=name"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DRY_RUN)
    assert done.returncode == 0, done.stderr
    groups = {line.partition(".")[2] for line in done.stdout.split()}
    custom = {each["apiVersion"].split("/")[0] for each in rendered(overlay).documents if schemas.is_custom(each)}
    if custom - groups:
        pytest.skip(f"the cluster does not know {', '.join(sorted(custom - groups))}")
