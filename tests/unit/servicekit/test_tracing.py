"""When there are traces, and that there is nothing where there are none."""

from __future__ import annotations

import subprocess
import sys

import pytest
from structlog.testing import capture_logs

from servicekit.observability import tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9"}, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.wanted(environment) is wanted


def test_without_the_extra_an_endpoint_is_a_warning_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "servicekit.observability.tracing_sdk", None)  # as if it could not be imported
    with capture_logs() as logs:
        tracing.configure("edge", ENDPOINT)
    assert [log["event"] for log in logs] == ["tracing_not_installed"]
    assert tracing.begin("request", None) is tracing.NONE


def test_without_traces_every_span_is_the_same_nothing() -> None:
    span = tracing.begin("request", "00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    assert span is tracing.NONE
    with span.child("below") as below:
        assert below is tracing.NONE
        assert tracing.current.get() is tracing.NONE
        assert below.traceparent == ""
    assert tracing.resume("far", "") is tracing.NONE


def test_without_an_endpoint_opentelemetry_is_not_even_imported() -> None:
    program = (
        "import sys\n"
        "from servicekit.process import run\nfrom servicekit.observability import tracing\n"
        "from servicekit.rpc import client, interceptors\n"
        "tracing.configure('edge', {})\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("sampler", "flag", "trusted", "sampled"),
    [
        ("parentbased_always_off", "01", False, False),
        ("parentbased_always_off", "01", True, True),
        ("parentbased_traceidratio", "01", False, False),
        ("always_off", "01", False, False),
        ("parentbased_always_on", "01", False, True),
        ("parentbased_always_on", "00", False, False),
    ],
)
def test_a_client_cannot_have_its_requests_sampled(
    monkeypatch: pytest.MonkeyPatch, sampler: str, flag: str, trusted: bool, sampled: bool
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.000001")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    chosen = "a" * 16 + "0" * 16  # an id that every ratio takes
    tracing.configure("edge")
    try:
        span = tracing.begin("request", f"00-{chosen}-{'b' * 16}-{flag}", trusted=trusted)
        assert (span is not tracing.NONE) is sampled
        assert not sampled or span.traceparent.startswith(f"00-{chosen}-")
    finally:
        tracing.shutdown()
