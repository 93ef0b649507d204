"""Nobody pays for more than they used, whatever an upstream reports and whenever a client leaves.

The oracle is counts.json (tests/token_counts): another implementation's counts, and the framing's constants; and, for a
tokenizer.json of one token a byte, the bytes of what its template renders.
TEST_OVERCHARGING=all, which `make faults` sets, runs each prompt with everything: about a minute.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from muhgpt.quota.v1 import quota_pb2
from muhgpt_cli.operator_client import Operator
from muhgpt_cli.system import find
from tests.byte_tokenizer import written
from tests.upstreams import SSE, Asked, Upstream, encoded, end, text, usage
from tests.worlds.processes import Account, Platform, in_a_thread, running, until

LONG = os.environ.get("TEST_OVERCHARGING") == "all"
DATA = json.loads((Path(__file__).parents[1] / "token_counts" / "counts.json").read_text())
FRAMING, ANSWERS = DATA["framing"], DATA["answers"]
PROMPTS = [prompt for prompt in DATA["texts"] if prompt not in ("user", "system", "assistant", "tool")]
SYSTEM = "hi there"  # every second prompt has it before it
CUTS = ("first", "middle", "last")
MODELS = {
    "named": ("o200k_base", False),
    "older": ("cl100k_base", False),
    "guessed": ("o200k_base", True),
    "templated": ("bytes", False),
}
TEMPLATE = "{% for m in messages %}{{ m.role }}:{{ m.content }}{{ eos_token }}{% endfor %}>"
MODEL = """
  {name}:
    engine: upstream
    base_url: {url}/v1
    model: {name}
    context_length: 100000
    price: {{input: 1000000, output: 3000000}}
"""
# What the upstream says of its tokens, from the true counts of prompt and output; and whether it is to be believed.
USAGES: dict[str, tuple[Any, bool, bool]] = {
    "none": (lambda prompt, output: [], False, False),
    "lower": (lambda prompt, output: [usage(prompt - 2, output)], True, True),
    "higher": (lambda prompt, output: [usage(prompt + 7, output + 5)], True, True),
    "nonsense": (lambda prompt, output: [usage(100 * prompt, 5000)], False, False),
    "free": (lambda prompt, output: [usage(0, 0)], False, False),
    "nulls": (lambda prompt, output: [usage(None, None)], False, False),  # type: ignore[arg-type]
    "prompt only": (lambda prompt, output: [{"choices": [], "usage": {"prompt_tokens": prompt - 1}}], True, False),
    "output only": (lambda prompt, output: [{"choices": [], "usage": {"completion_tokens": output + 1}}], False, True),
}


@dataclass(frozen=True)
class Case:
    """One request. `sent`: after how many pieces the upstream stands still and the client leaves; None: to its end."""

    model: str
    prompt: int
    streamed: bool
    usage: str
    cut: str | None = None

    @property
    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = ANSWERS[self.prompt % len(ANSWERS)]
        return found

    @property
    def sent(self) -> int:
        pieces = len(self.answer["pieces"])
        return {"first": 1, "middle": pieces // 2, "last": pieces, None: pieces}[self.cut]

    @property
    def messages(self) -> list[dict[str, str]]:
        system = [{"role": "system", "content": SYSTEM}] if self.prompt % 2 else []
        return [*system, {"role": "user", "content": PROMPTS[self.prompt]}]

    @property
    def prompt_tokens(self) -> int:
        """As the oracle counts it."""
        encoding = MODELS[self.model][0]
        if encoding == "bytes":
            return sum(len(m["role"]) + len(m["content"].encode()) + 2 for m in self.messages) + 1
        words = [word for message in self.messages for word in message.values()]
        return sum(DATA["texts"][word][encoding] for word in words) + (
            FRAMING["message"] * len(self.messages) + FRAMING["reply"]
        )

    @property
    def output_tokens(self) -> int:
        """As the oracle counts what was sent."""
        encoding = MODELS[self.model][0]
        if encoding == "bytes":
            return len("".join(self.answer["pieces"][: self.sent]).encode())
        return int(self.answer["counts"][self.sent - 1][encoding])

    @property
    def expected(self) -> tuple[int, int, bool]:
        """Prompt, output and whether they are estimates, on the receipt."""
        report, prompt_believed, output_believed = USAGES[self.usage]
        prompt, output = self.prompt_tokens, self.output_tokens
        if self.cut is None and (reported := report(prompt, output)):
            counts = reported[0]["usage"]
            prompt = counts["prompt_tokens"] if prompt_believed else prompt
            output = counts["completion_tokens"] if output_believed else output
        exact = self.cut is None and prompt_believed and output_believed
        return prompt, output, MODELS[self.model][1] and not exact


CASES = [
    Case(model, prompt, streamed, told, cut)
    for model, prompt in itertools.product(MODELS, range(len(PROMPTS)))
    for told, (streamed, cut) in itertools.product(
        USAGES, [(False, None), (True, None), *((True, cut) for cut in CUTS)]
    )
    if cut is None or told in ("none", "lower")
]
SHORT = [case for number, case in enumerate(CASES) if LONG or number % 4 == case.prompt % 4]


async def play(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Streams the case's answer; its number is the request's seed."""
    case = CASES[asked.body["seed"]]
    writer.write(SSE.encode())
    for piece in case.answer["pieces"][: case.sent]:
        writer.write(encoded(text(piece), done=False))
        await writer.drain()
    if case.cut is not None:
        await asyncio.Event().wait()
    writer.write(encoded(end(), *USAGES[case.usage][0](case.prompt_tokens, case.output_tokens)))


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    """In a loop of its own, since these tests have none."""
    loop, server = asyncio.new_event_loop(), Upstream(play)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    yield server
    asyncio.run_coroutine_threadsafe(server.kill(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, server: Upstream) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("overcharging")
    models = "models:"
    files = {"bytes": written(directory, TEMPLATE)}
    for name, (encoding, guessed) in MODELS.items():
        models += MODEL.format(name=name, url=server.url)
        models += "" if guessed else f"    tokenizer: {files.get(encoding, encoding)}\n"
    (directory / "models.yaml").write_text(models)
    with running(directory / "data", "--models", str(directory / "models.yaml")) as platform:
        yield platform


def charges(platform: Platform, account: Account) -> list[quota_pb2.Charge]:
    """Receipts that have ended, oldest first."""

    async def read() -> list[quota_pb2.Charge]:
        async with Operator(find(platform.data_dir)) as operator:
            request = quota_pb2.ListChargesRequest(account_id=account.account_id, page_size=1000)
            return list((await operator.quota.call("ListCharges", request)).charges)

    found = in_a_thread(read())
    return sorted(
        (charge for charge in found if charge.HasField("ended_at")),
        key=lambda charge: charge.reserved_at.ToNanoseconds(),
    )


def send(platform: Platform, account: Account, case: Case) -> None:
    """One request, to its end or until the client has what the upstream has sent."""
    with platform.openai(account.key) as client:
        answer = client.chat.completions.create(
            model=case.model,
            messages=case.messages,
            stream=case.streamed,
            seed=CASES.index(case),
            max_tokens=300,  # type: ignore[arg-type]
        )
        if not case.streamed:
            return
        wanted, got = "".join(case.answer["pieces"][: case.sent]), ""
        for piece in answer:
            got += piece.choices[0].delta.content or ""
            if case.cut is not None and got == wanted:
                break
        assert got == wanted
        answer.close()


@pytest.mark.timeout(300)
def test_charged_is_a_usage_that_is_plausible_and_otherwise_the_tokenizers_count(platform: Platform) -> None:
    account = platform.account(credits=10_000_000, per_minute=100_000)
    wrong = []
    for number, case in enumerate(SHORT, 1):
        send(platform, account, case)
        if case.cut is not None:  # charged a moment after the client has left
            until(lambda number=number: len(charges(platform, account)) == number, 10, f"the charge of {case}")
    for case, charge in zip(SHORT, charges(platform, account), strict=True):
        charged = charge.prompt_tokens, charge.output_tokens, charge.estimated
        if charged != case.expected:
            wrong.append(f"{case}: {charged} instead of {case.expected}")
    assert not wrong, f"{len(wrong)} of {len(SHORT)}\n" + "\n".join(wrong[:40])
    assert platform.muhgpt("doctor")["ok"] is True
