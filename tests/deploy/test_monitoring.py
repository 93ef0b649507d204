"""Dashboard, alerts and docs/metrics.md name what the running services expose, and every alert has its runbook."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import promql_parser
import pytest
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.canaries.world import LIST, SERVICES, echo, in_a_loop
from tests.pictures import data_uri, picture, written
from tests.worlds.parts.service import free_port
from tests.worlds.processes import Platform, running, until

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy/k8s/components/monitoring"
# What Prometheus itself adds, and what the standard library of metrics exposes but for an edge of several workers.
NOT_OURS = ("up", "process_")
PARTS = ("_bucket", "_sum", "_count")
ADDED = {"le", "quantile", "pod", "service", "namespace"}  # by histograms, and by the PodMonitor


@dataclass(frozen=True)
class Scraped:
    """The families of each service's page, and of each the labels that its samples have."""

    pages: dict[str, dict[str, Metric]]

    @property
    def names(self) -> set[str]:
        """Every name that a query may use."""
        names = set()
        for page in self.pages.values():
            for family in page.values():
                plain = family.name + ("_total" if family.type == "counter" else "")
                names |= {family.name + part for part in PARTS} if family.type == "histogram" else {plain}
        return names

    def labels(self, name: str) -> set[str]:
        """Labels of a family's samples, by the name that docs/metrics.md gives it."""
        families = [page[key] for page in self.pages.values() if (key := name.removesuffix("_total")) in page]
        return {label for family in families for sample in family.samples for label in sample.labels} - {"le"}


@pytest.fixture(scope="session")
def scraped(tmp_path_factory: pytest.TempPathFactory, projector: Path) -> Iterator[Scraped]:
    """All four services after some traffic, the edge with two workers."""
    folder = tmp_path_factory.mktemp("scraped")
    ports = {name: free_port() for name in SERVICES}
    env = {f"MUHGPT_{name.upper()}_METRICS_LISTEN": f"127.0.0.1:{port}" for name, port in ports.items()}
    env |= {"MUHGPT_QUOTA_BOOKS_INTERVAL": "1", "CANARY_UPSTREAM_KEY": "sk-of-the-upstream"}
    with in_a_loop(echo) as upstream:
        (folder / "models.yaml").write_text(LIST.format(projector=projector, url=upstream.url))
        options = ("--workers", "2", "--models", str(folder / "models.yaml"))
        with running(folder / "data", *options, env=env) as platform:
            use(platform)
            pages = {name: f"http://127.0.0.1:{port}/metrics" for name, port in ports.items()}
            until(
                lambda: "books_checked_timestamp_seconds 0.0" not in page(pages["quota"]), 30, "the books are counted"
            )
            yield Scraped({name: families(page(url)) for name, url in pages.items()})


def use(platform: Platform) -> None:
    """A little of everything."""
    account = platform.account()
    image = [{"type": "image_url", "image_url": {"url": data_uri(written(picture("red")))}}]
    for model, content, stream in (
        ("muh-chat", "Hello!", False),
        ("muh-chat", "Hello!", True),
        ("muh-chat", image, False),
        ("muh-upstream", "Hello!", False),
    ):
        body = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": 8, "stream": stream}
        assert post(platform, account.key, body) == 200
    assert post(platform, platform.account(credits=0).key, {"messages": [{"role": "user", "content": "Hi"}]}) == 402
    platform.muhgpt("keys", "revoke", account.key_id)


def post(platform: Platform, key: str, body: dict[str, Any]) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{platform.base_url}/chat/completions", json=body, headers=headers, timeout=60).status_code


def page(url: str) -> str:
    answer = httpx.get(url, timeout=30)
    assert answer.status_code == 200
    return answer.text


def families(text: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def alerts() -> list[dict[str, Any]]:
    document = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return [rule for group in document["spec"]["groups"] for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """Every query, by where it stands."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    found = {f"alert {rule['alert']}": rule["expr"] for rule in alerts()}
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"].replace("$__rate_interval", "5m")
    return found


def selectors(expression: str) -> list[tuple[str, set[str]]]:
    """The metrics that a query reads, each with the labels that it is asked for. Raises ValueError for bad PromQL."""
    found: list[tuple[str, set[str]]] = []

    def walk(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, {each.name for each in node.matchers.matchers}))
        for child in ("lhs", "rhs", "expr", "param", "vector_selector"):
            if (inner := getattr(node, child, None)) is not None:
                walk(inner)
        for inner in getattr(node, "args", None) or ():
            walk(inner)

    walk(promql_parser.parse(expression))
    return found


def grouped(expression: str) -> set[str]:
    """The labels that a query sums by."""
    return {label.strip() for each in re.findall(r"\bby \(([^)]*)\)", expression) for label in each.split(",")}


def unknown(expression: str, scraped: Scraped) -> list[str]:
    """What a query names that is not there: metrics, and labels that none of its metrics has."""
    read = selectors(expression)
    assert read, f"{expression} reads nothing"
    problems = [name for name, _ in read if name not in scraped.names and not name.startswith(NOT_OURS)]
    known = set(ADDED)
    for name, asked in read:
        labels = scraped.labels(re.sub("(_bucket|_sum|_count)$", "", name)) | ADDED
        known |= labels
        problems += [f"{name}{{{label}}}" for label in asked - labels if name not in problems]
    return problems + [f"by ({label})" for label in grouped(expression) - known]


@pytest.mark.parametrize("place", expressions())
def test_every_query_reads_what_is_exposed(place: str, scraped: Scraped) -> None:
    assert unknown(expressions()[place], scraped) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "sum(rate(muhgpt_edge_request_total[5m]))",
        "histogram_quantile(0.95, sum by (le) (rate(muhgpt_edge_first_token_seconds[5m])))",
        'sum(rate(muhgpt_edge_requests_total{code="500"}[5m]))',
        "sum by (account) (rate(muhgpt_edge_requests_total[5m]))",
        "max(muhgpt_quota_books_differences) / max(muhgpt_quota_nothing)",
    ],
)
def test_a_wrong_query_is_found(wrong: str, scraped: Scraped) -> None:
    assert unknown(wrong, scraped) != []


def test_what_is_no_query_is_found() -> None:
    with pytest.raises(ValueError, match=r"."):
        selectors("sum(rate(muhgpt_edge_requests_total[5m])")


def documented() -> dict[str, tuple[str, set[str]]]:
    """Kind and labels of each metric of docs/metrics.md."""
    rows = re.findall(r"^\| `(muhgpt_\w+)` \| (\w+) \|([^|]*)\|", (ROOT / "docs/metrics.md").read_text(), re.M)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_page_of_metrics_lists_what_is_exposed_and_nothing_else(scraped: Scraped) -> None:
    exposed = {}
    for families_of_one in scraped.pages.values():
        for family in families_of_one.values():
            if family.name.startswith("muhgpt_") and not family.name.endswith("_created"):
                exposed[family.name + ("_total" if family.type == "counter" else "")] = family.type
    assert exposed == {name: kind for name, (kind, _) in documented().items()}


def test_the_page_of_metrics_names_the_labels_that_they_have(scraped: Scraped) -> None:
    seen = {name: labels for name in documented() if (labels := scraped.labels(name))}
    assert seen == {name: labels for name, (_, labels) in documented().items() if name in seen}
    with_labels = {name for name, (_, labels) in documented().items() if labels}
    assert with_labels - set(seen) == set()  # the traffic above made every series once


def test_no_label_holds_what_a_client_chose(scraped: Scraped) -> None:
    for families_of_one in scraped.pages.values():
        for family in families_of_one.values():
            assert len({tuple(sorted(sample.labels.items())) for sample in family.samples}) < 500
            for sample in family.samples:
                assert not {"account", "account_id", "key", "key_id", "path", "user"} & set(sample.labels)
                assert "pid" not in sample.labels  # a gauge without a mode would tell every worker's apart


def test_gauges_of_several_workers_are_summed(scraped: Scraped) -> None:
    streams = scraped.pages["edge"]["muhgpt_edge_streams_open"]
    assert {sample.labels["peer"]: sample.value for sample in streams.samples} == {
        "auth": 2,
        "quota": 2,
        "inference": 2,
    }
    (build,) = scraped.pages["edge"]["muhgpt_build_info"].samples
    assert build.value == 1


def test_the_books_are_told(scraped: Scraped) -> None:
    quota = scraped.pages["quota"]
    (differences,) = quota["muhgpt_quota_books_differences"].samples
    (balance,) = quota["muhgpt_quota_balance_credits"].samples
    assert differences.value == 0
    assert balance.value > 0


def test_every_alert_says_how_bad_it_is_what_it_is_and_where_its_runbook_is() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"docs/alerts.md#{rule['alert'].lower()}"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    text = (ROOT / "docs/alerts.md").read_text()
    assert re.findall(r"^## (\w+)$", text, re.M) == [rule["alert"] for rule in alerts()]
    for section in text.split("\n## ")[1:]:
        for part in ("**Means:**", "**Users see:**", "**Look:**", "**Do:**"):
            assert part in section, section.splitlines()[0]


def test_runbooks_name_log_events_that_exist() -> None:
    code = "".join(
        path.read_text() for top in ("services", "servicekit", "common") for path in (ROOT / top).rglob("*.py")
    )
    words = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", (ROOT / "docs/alerts.md").read_text()))
    fields = {
        "request_id",
        "trace_id",
        "x-request-id",
        "engine_overloaded",
        "uncollected_credits",
        "refunded_credits",
        "timed_out",
    }
    columns = {"context_length", "max_tokens", "max_connections", "pg_stat_activity"}
    missing = {word for word in words - fields - columns if not word.startswith("_") and f'"{word}"' not in code}
    assert missing == set()


def test_the_runbooks_name_metrics_that_exist(scraped: Scraped) -> None:
    named = set(re.findall(r"`(muhgpt_[a-z_]+)`", (ROOT / "docs/alerts.md").read_text()))
    assert named <= scraped.names


@pytest.mark.skipif(which("kubectl") is None, reason="kubectl builds the component; install it to check that too")
def test_the_component_builds_with_its_dashboard_where_grafana_looks(tmp_path: Path) -> None:
    overlay = tmp_path / "overlay"
    overlay.mkdir()
    copy = tmp_path / "monitoring"
    copy.mkdir()
    for file in MONITORING.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    kustomization = {"kind": "Kustomization", "namespace": "muhgpt", "components": ["../monitoring"]}
    (overlay / "kustomization.yaml").write_text(json.dumps(kustomization))
    built = subprocess.run(["kubectl", "kustomize", str(overlay)], capture_output=True, text=True, timeout=60)
    assert built.returncode == 0, built.stderr
    kinds = {document["kind"]: document for document in yaml.safe_load_all(built.stdout)}
    assert set(kinds) == {"ConfigMap", "PodMonitor", "PrometheusRule"}
    assert kinds["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(kinds["ConfigMap"]["data"]["dashboard.json"])["title"] == "MUHGPT"
    assert all(document["metadata"]["namespace"] == "muhgpt" for document in kinds.values())
