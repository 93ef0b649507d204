"""Mistakes that are no matter while trying, and are with paying users."""

from __future__ import annotations

from tests.deploy.checks import memory, probes, production, settings
from tests.deploy.mutations.mutation import Mutation, config, container, spec

PRODUCTION = [
    Mutation(
        "an image by its tag",
        production,
        lambda m: container(m, "edge").update(image="registry.example.com/muhgpt/edge:0.1.0"),
        "is named by a tag",
    ),
    Mutation(
        "a tag in an init container",
        production,
        lambda m: m.workload("auth").pod["initContainers"][0].update(image="registry.example.com/muhgpt/auth:0.1.0"),
        "is named by a tag",
    ),
    Mutation(
        "a database that is not checked",
        production,
        lambda m: config(m, "quota-settings-")["data"].pop("MUHGPT_QUOTA_DATABASE_CA_FILE"),
        "quota, container migrate: its database's certificate is not checked",
    ),
    Mutation(
        "a database elsewhere that is not checked",
        production,
        lambda m: config(m, "auth-settings-")["data"].pop("MUHGPT_AUTH_DATABASE_CA_FILE"),
        "auth, container auth: its database's certificate is not checked",
        "own-database",
    ),
    Mutation(
        "an authority that is not mounted",
        settings,
        lambda m: container(m, "auth")["volumeMounts"].remove(
            next(each for each in container(m, "auth")["volumeMounts"] if each["name"] == "database-ca")
        ),
        "ca.crt is not mounted there",
    ),
    Mutation(
        "an authority's key",
        production,
        lambda m: next(each for each in m.workload("auth").pod["volumes"] if each["name"] == "database-ca")[
            "secret"
        ].pop("items"),
        "has the key of an authority, auth-db-ca",
    ),
    Mutation(
        "a shell that waits",
        production,
        lambda m: spec(m, "Deployment", "operator").update(replicas=1),
        "operator has 1 replicas",
    ),
    Mutation(
        "no shell while trying",
        production,
        lambda m: spec(m, "Deployment", "operator").update(replicas=0),
        "the guide's first steps need it",
        "local",
    ),
    Mutation(
        "a Job that outlives its end",
        production,
        lambda m: spec(m, "Job", "bootstrap").update(ttlSecondsAfterFinished=60),
        "an apply after it does nothing",
        "local",
    ),
    Mutation(
        "a Job that stays",
        production,
        lambda m: spec(m, "Job", "bootstrap").pop("ttlSecondsAfterFinished"),
        "an apply after it does nothing",
        "local",
    ),
    Mutation(
        "a headless database",
        settings,
        lambda m: spec(m, "Service", "postgres").update(clusterIP="None"),
        "Service postgres is headless",
        "local",
    ),
    Mutation(
        "an impatient probe",
        probes,
        lambda m: container(m, "edge")["startupProbe"].pop("timeoutSeconds"),
        "startupProbe waits 1 s for its answer",
    ),
    Mutation(
        "more bodies than memory",
        memory,
        lambda m: config(m, "edge-settings-")["data"].update(MUHGPT_EDGE_HELD_BODY_BYTES=str(512 * 2**20)),
        "and its limit is 2Gi",
    ),
    Mutation(
        "two workers in the memory of one",
        memory,
        lambda m: config(m, "edge-settings-")["data"].update(MUHGPT_EDGE_WORKERS="2"),
        "and its limit is 2Gi",
    ),
]
