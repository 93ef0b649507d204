"""The list of models is made once for each list that inference reports."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from services.edge.endpoints.models.page import ModelPage
from services.edge.serving.gateway import ModelInfo
from services.edge.serving.model_catalogue import ModelCatalogue


def info(name: str) -> ModelInfo:
    return ModelInfo(name, "muh-chat-v1", 1, "muhgpt", 4096, True, False, True, True)


def test_each_model_is_converted_once_for_each_list() -> None:
    shown: list[str] = []

    def show(name: str) -> ModelInfo:
        shown.append(name)
        return info(name)

    catalogue, reported = ModelCatalogue(show), {name: name for name in ("a", "b", "c")}
    everything = catalogue.usable(reported, ())
    assert [each.alias for each in everything] == ["a", "b", "c"]
    assert catalogue.usable(reported, frozenset()) is everything
    assert [each.alias for each in catalogue.usable(reported, {"c", "a", "elsewhere"})] == ["a", "c"]
    assert shown == ["a", "b", "c"]
    assert [each.alias for each in catalogue.usable({"d": "d"}, ())] == ["d"]


def test_a_list_is_encoded_once() -> None:
    reads: list[str] = []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            reads.append(name)
            return getattr(info("muh-chat"), name)

    page, models = ModelPage(), [Counted(), Counted()]
    first = page.encode(models)  # type: ignore[arg-type]
    before = len(reads)
    assert page.encode(models) is first  # type: ignore[arg-type]
    assert len(reads) == before
    assert [each["id"] for each in json.loads(first)["data"]] == ["muh-chat"] * 2
    assert json.loads(page.encode([info("other")]))["data"][0]["id"] == "other"


def test_a_replica_is_ranked_without_reading_its_models() -> None:
    from services.edge.peers.inference.session import InferenceLink
    from tests.fakes import FakeClock

    reads: list[str] = []

    class Model(SimpleNamespace):
        def __getattribute__(self, name: str) -> Any:
            reads.append(name)
            return super().__getattribute__(name)

    nothing: Any = SimpleNamespace(channel=None)
    link = InferenceLink(nothing, nothing, b"", FakeClock(), "edge", lambda: None, lambda: None)
    assert link.rank("a") == 1
    link.tell_models(Model(alias=f"alias{n}", model="ab"[n % 2], ready=n % 2 == 0) for n in range(1000))
    reads.clear()
    assert [link.rank(model) for model in ("a", "b", "c")] == [0, 1, 2]
    link.found_away("a")
    assert link.rank("a") == 1
    assert reads == []
