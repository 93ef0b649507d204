"""Which files of a repository are fetched."""

from __future__ import annotations

import pytest

from muhgpt_cli.errors import CliError
from muhgpt_cli.hub.choosing import choose, projector
from muhgpt_cli.hub.client import RemoteFile, Repository


def repository(*paths: str) -> Repository:
    return Repository("org/name", "c0ffee", tuple(RemoteFile(path, 1000, "ab" * 32) for path in paths))


@pytest.mark.parametrize(
    ("paths", "asked", "chosen"),
    [
        (["odd.gguf"], "", "odd.gguf"),
        (["README.md", "m-F16.GGUF", "mmproj-m-Q4_K_M.gguf", "m.imatrix.gguf"], "", "m-F16.GGUF"),
        (["m-IQ4_K_M.gguf", "m-Q4_K_M.gguf", "m-Q4_K_M_L.gguf", "m-Q8_0.gguf"], "", "m-Q4_K_M.gguf"),
        (["m.Q2_K.gguf", "m.Q8_0.gguf", "m.BF16.gguf"], "", "m.Q8_0.gguf"),
        (["m-q4_0.gguf", "m-f16.gguf", "m-bf16.gguf"], "F16", "m-f16.gguf"),
        (["m-UD-Q4_K_XL.gguf", "m-Q4_K_M.gguf"], "UD-Q4_K_XL", "m-UD-Q4_K_XL.gguf"),
        (
            ["BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf", "m-Q2_K.gguf"],
            "BF16",
            "BF16/m-BF16.gguf",
        ),
        (["a/m-Q4_K_M.gguf", "b/m-Q4_K_M.gguf"], "b/m-Q4_K_M.gguf", "b/m-Q4_K_M.gguf"),
    ],
)
def test_a_model_is_chosen(paths: list[str], asked: str, chosen: str) -> None:
    assert choose(repository(*paths), asked).name == chosen


def test_parts_come_in_order_and_together() -> None:
    parts = [f"m-Q8_0-0000{number}-of-00003.gguf" for number in (3, 1, 2)]
    choice = choose(repository(*parts), "")
    assert [file.path for file in choice.files] == sorted(parts)
    assert choice.size == 3000


@pytest.mark.parametrize(
    ("paths", "asked", "said"),
    [
        (["m.safetensors"], "", "no GGUF"),
        (["mmproj-F16.gguf"], "", "no GGUF"),
        (["m-Q2_K.gguf", "m-F16.gguf"], "", "has 2 models"),
        (["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], "", "has 2 models"),
        (["a-Q4_K_M.gguf", "b-Q4_K_M.gguf", "c.gguf"], "Q4_K_M", "2 models of org/name fit"),
        (["m-Q4_K_M.gguf", "m-Q8_0.gguf"], "Q4_K", "no model of org/name fits"),
        (["m-00001-of-00003.gguf", "m-00003-of-00003.gguf"], "", "lacks some"),
    ],
)
def test_where_none_can_be_chosen_the_choices_are_shown(paths: list[str], asked: str, said: str) -> None:
    with pytest.raises(CliError) as caught:
        choose(repository(*paths), asked)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        (["m.gguf"], None),
        (["m.gguf", "mmproj-BF16.gguf", "mmproj-F16.gguf", "mmproj-F32.gguf"], "mmproj-F16.gguf"),
        (["m.gguf", "m-mmproj-q8_0.gguf", "m-mmproj-bf16.gguf"], "m-mmproj-q8_0.gguf"),
        (["x/m.gguf", "y/mmproj-F16.gguf", "x/mmproj-F32.gguf"], "x/mmproj-F32.gguf"),
        (["x/m.gguf", "mmproj-strange.gguf"], "mmproj-strange.gguf"),
    ],
)
def test_the_projector_beside_the_model_is_taken_in_half_precision(paths: list[str], chosen: str | None) -> None:
    holding = repository(*paths)
    found = projector(holding, choose(holding, ""))
    assert (found.path if found else None) == chosen
