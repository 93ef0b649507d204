"""Model lists that are made to hurt: each is one sentence, at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from common.model_list import load_model_list
from servicekit.errors import StartupError

ENTRY = "{engine: llama, context_length: 2048, price: {input: 1, output: 1}}"
LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 40))
HOSTILE = {
    "aliases within aliases": LAUGHS,
    "aliases as models": f"x: &x {ENTRY}\nmodels: *x\n",
    "itself": "models: &m\n  a: *m\n",
    "a list of itself": "&a [*a, *a]",
    "brackets 100,000 deep": "models: " + "[" * 100_000 + "]" * 100_000,
    "mappings 2,000 deep": "".join(" " * n + "a:\n" for n in range(600)),
    "a key that is a list, deep": "? " * 5_000 + "a",
    "a name of 200,000 letters": f"models:\n  {'x' * 200_000}: {ENTRY}\n",
    "a field of 200,000 letters": f"models:\n  a: {{{'x' * 200_000}: 1}}\n",
    "an alias of 200,000 letters": f"models: *{'x' * 200_000}",
    "a megabyte": "#" * 1_000_000,
    "digits without end": f"models:\n  a: {ENTRY.replace('2048', '9' * 100_000)}\n",
    "an escape for no character": 'models: "\\UFFFFFFFF"',
    "a version of 5,000 digits": f"%YAML 1.{'9' * 5_000}\n---\nmodels: 1\n",
    "a zero byte": "models: \0",
    "a tag": "models: !!python/object/apply:os.system ['true']",
    "aliases in a long circle": f"models: {{m: {ENTRY}}}\naliases:\n"
    + "".join(f"  n{n}: n{(n + 1) % 9_000}\n" for n in range(9_000)),
    "aliases in a long chain to nothing": f"models: {{m: {ENTRY}}}\naliases:\n"
    + "".join(f"  n{n}: n{n + 1}\n" for n in range(9_000)),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_model_list_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(StartupError) as refused:
        load_model_list(path)
    assert time.process_time() - began < 10
    problem = str(refused.value)
    assert problem.startswith(str(path))
    assert "\n" not in problem
    assert len(problem) < 1_000
