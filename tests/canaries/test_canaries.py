"""G11: prompts, answers, keys, passwords and tokens come out nowhere, whatever is asked and whatever breaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.canaries.accidents import ask, parsed
from tests.canaries.marks import Marks
from tests.canaries.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


def test_nothing_that_was_planted_is_said_anywhere(lived: World) -> None:
    said = lived.said()
    assert all(len(text) > 100 for text in said.values()), {place: len(text) for place, text in said.items()}
    assert lived.marks.found(said, but=["confession"]) == []


def test_no_client_is_told_what_another_planted(lived: World) -> None:
    found = []
    for own, answer in lived.answers.items():
        others = Marks({secret: where for secret, where in lived.marks.planted.items() if secret != own})
        found += others.found({lived.marks.planted[own]: answer})
    assert found == []


def test_every_line_of_every_log_is_one_json_object_with_its_time_service_and_level(lived: World) -> None:
    lines = list(lived.log_lines())
    assert len(lines) > 100
    for place, line in lines:
        try:
            event = parsed(line)
        except (ValueError, AssertionError):
            pytest.fail(f"{place}: {line[:300]}")
        assert {"event", "level", "time"} <= set(event), line
        assert event["service"] == place.removesuffix(".log")


def test_every_defect_left_an_event_by_which_it_is_found(lived: World) -> None:
    failed = {(each["service"], each["event"]) for name in DEFECTS for each in lived.events(name)}
    assert failed >= {
        ("edge", "request_failed"),
        ("inference", "generation_failed"),
        ("inference", "call_failed"),
        ("auth", "call_failed"),
        ("quota", "operation_failed"),
        ("edge", "worker_died"),
        ("inference", "worker_lost"),
    }


DEFECTS = ("request_failed", "generation_failed", "call_failed", "operation_failed", "worker_died", "worker_lost")


def test_every_request_is_one_event_of_the_access_log(lived: World) -> None:
    events = lived.events("request")
    ids = [event["request_id"] for event in events]
    assert len(ids) == len(set(ids))
    assert {event["path"] for event in events} <= {
        "unknown",
        "/v1/chat/completions",
        "/v1/models/{model}",
        "/v1/usage",
        "/v1/usage/charges",
        "/readyz",
    }
    whole = next(event for event in events if event["status"] == 200 and "prompt_tokens" in event)
    assert {"account_id", "key_id", "duration_ms", "completion_tokens", "trace_id"} <= set(whole)


def test_the_search_finds_a_prompt_that_is_logged(lived: World) -> None:
    key = next(secret for secret, where in lived.marks.planted.items() if where == "good key")
    assert ask(lived, key, "confession", "confess ", max_tokens=2) == 200
    assert {each.partition(" in ")[2] for each in lived.marks.found(lived.said())} == {"edge.log", "inference.log"}


def test_the_search_finds_base64_at_every_alignment() -> None:
    import base64

    marks = Marks()
    secret = marks.plant("here")
    for before in (b"", b"a", b"ab", b"abc"):
        assert marks.found({"there": base64.b64encode(before + secret.encode() + b"tail")}) == ["here in there"]


@pytest.mark.parametrize(
    "service", ["edge", *(pytest.param(name, marks=pytest.mark.long) for name in ("auth", "quota", "inference"))]
)
def test_a_setting_that_is_wrong_is_named_without_a_secret_in_its_place(tmp_path: Path, service: str) -> None:
    marks, prefix = Marks(), f"MUHGPT_{service.upper()}_"
    token = tmp_path / "token"
    token.write_text(marks.plant("token") + "\n")
    url = f"postgresql://muhgpt:{marks.plant('password')}@127.0.0.1:1/muhgpt"
    key = marks.add("key", "mghp_" + "x" * 36)
    base = {"PATH": os.environ["PATH"], f"{prefix}EDGE_TOKEN_FILE": str(token)}
    if service != "edge":
        base[f"{prefix}OPERATOR_TOKEN_FILE"] = str(token)
    for wrong in (
        {f"{prefix}DRAIN_TIMEOUT": url},
        {f"{prefix}LOG_LEVEL": url},
        {f"{prefix}METRICS_LISTEN": url},
        {f"{prefix}LISTEN": key, f"{prefix}DATABASE_URL": url},
        {f"{prefix}EDGE_TOKEN_FILE": url},
        {f"{prefix}DATABASE_URL": url},
        {f"{prefix}DATABASE_URL": url.replace("postgresql", "mysql")},
        {f"{prefix}UNKNOWN": url},
    ):
        done = subprocess.run(
            [sys.executable, "-m", f"services.{service}.main"],
            env={**base, **wrong},
            capture_output=True,
            timeout=90,
        )
        assert done.returncode == 2, (wrong, done.stderr.decode())
        assert marks.found({"stderr": done.stderr, "stdout": done.stdout}) == [], wrong
        for line in done.stderr.decode().splitlines():
            assert line.startswith("error: ") or json.loads(line)
