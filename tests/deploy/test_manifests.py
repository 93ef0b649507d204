"""Every rendered overlay, and variants of production, against every check (checks/)."""

from __future__ import annotations

from types import ModuleType

import pytest

from common.model_list import load_model_list
from services.inference import metrics
from tests.deploy.checks import (
    entrance,
    images,
    memory,
    probes,
    production,
    references,
    schemas,
    security,
    selectors,
    settings,
    shutdown,
    tls,
)
from tests.deploy.checks.secrets import BY_HAND
from tests.deploy.conftest import rendered
from tests.deploy.rendered import ROOT, Manifests

CHECKS = [
    schemas,
    selectors,
    references,
    settings,
    probes,
    shutdown,
    security,
    images,
    tls,
    entrance,
    memory,
    production,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.rpartition(".")[2])
def test_an_overlay_has_no_problems(manifests: Manifests, check: ModuleType) -> None:
    assert check.problems(manifests) == []


def test_the_model_list_is_the_one_that_comes_with_the_project() -> None:
    shipped = (ROOT / "common/models.yaml").read_text()
    assert (ROOT / "deploy/k8s/base/models.yaml").read_text() == shipped


def test_every_model_list_can_be_loaded(manifests: Manifests, tmp_path_factory: pytest.TempPathFactory) -> None:
    config = next(each for each in manifests.of("ConfigMap") if each["metadata"]["name"].startswith("models-"))
    path = tmp_path_factory.mktemp("models") / "models.yaml"
    path.write_text(config["data"]["models.yaml"])
    assert "muh-chat" in load_model_list(path).models


def test_vllm_serves_the_model_that_the_list_names() -> None:
    manifests = rendered("vllm")
    arguments = manifests.workload("vllm").containers[0]["args"]
    config = next(each for each in manifests.of("ConfigMap") if each["metadata"]["name"].startswith("models-"))
    listed = config["data"]["models.yaml"]
    told = dict(each.removeprefix("--").split("=", 1) for each in arguments if "=" in each)
    assert f"model: {told['served-model-name']} " in listed
    assert f"max_concurrent: {told['max-num-seqs']} " in listed
    assert f"context_length: {told['max-model-len']} " in listed


def test_inference_scales_by_a_metric_that_it_has() -> None:
    scaler = rendered("production").get("HorizontalPodAutoscaler", "inference")
    names = [each["pods"]["metric"]["name"] for each in scaler["spec"]["metrics"]]
    assert names == [metrics.WAITING.describe()[0].name]


@pytest.mark.parametrize("name", BY_HAND)
def test_the_guide_tells_how_to_make_each_secret_that_nobody_else_makes(name: str) -> None:
    assert f"create secret generic {name}" in (ROOT / "docs/kubernetes.md").read_text()


def test_nothing_is_pulled_for_the_local_overlay_but_postgresql() -> None:
    for workload in rendered("local").workloads:
        for container in workload.all_containers:
            if workload.name != "postgres":
                assert container["imagePullPolicy"] == "Never"
                assert container["image"].startswith("localhost/muhgpt/")
