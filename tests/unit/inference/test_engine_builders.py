"""Every engine that the model list may name can be built."""

from __future__ import annotations

from typing import get_type_hints

from common.model_list.engines import ENTRIES
from services.inference.engines.factory import BUILDERS


def test_each_entry_class_makes_a_target_that_has_a_builder() -> None:
    assert {get_type_hints(entry.target)["return"] for entry in ENTRIES} == set(BUILDERS)
