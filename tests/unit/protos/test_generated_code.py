"""gen/ is committed, so it can lie; these tests make that visible."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from muhgpt.auth.v1 import auth_pb2
from muhgpt.inference.v1 import inference_pb2
from muhgpt.options.v1 import callers_pb2
from muhgpt.quota.v1 import quota_pb2

ROOT = Path(__file__).resolve().parents[3]


def test_generated_code_is_what_the_protos_give() -> None:
    done = subprocess.run(
        [sys.executable, "protos/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", [auth_pb2, quota_pb2, inference_pb2])
def test_every_method_says_who_may_call_it(module: object) -> None:
    for service in module.DESCRIPTOR.services_by_name.values():  # type: ignore[attr-defined]
        for method in service.methods:
            assert method.GetOptions().Extensions[callers_pb2.callers], f"{method.full_name} names no callers"
