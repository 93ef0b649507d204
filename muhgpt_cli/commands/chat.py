"""`muhgpt chat`: one question to the running system, as a user with an API key."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from muhgpt_cli import output
from muhgpt_cli.edge_client import Edge
from muhgpt_cli.errors import CliError
from muhgpt_cli.operator_client import run
from muhgpt_cli.options import ApiKey, DataDir, Json, examples, typed
from muhgpt_cli.system import find
from servicekit.clock import Clock, SystemClock

EPILOG = examples(
    "export MUHGPT_API_KEY=mghp_…",
    'muhgpt chat "Write a haiku"',
    "cat letter.txt | muhgpt chat - --system 'Answer in one sentence.' --max-tokens 100",
    'muhgpt chat "Hello!" --model gpt-4o --json',
)


@dataclass
class Answer:
    """What came back, with its costs. Times are seconds from sending."""

    text: str = ""
    model: str = ""
    finish_reason: str | None = None
    usage: dict[str, int] = field(default_factory=dict)
    seconds_to_first_token: float | None = None
    seconds: float = 0.0
    credits: int | None = None


def chat(
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="What to say; - reads it from standard input.")],
    model: Annotated[str, typer.Option("--model", help="A model or alias.")] = "muh-chat",
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help="A system message.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", metavar="N", min=1, help="Output tokens at most.", show_default=False)
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", metavar="T", min=0, max=2, help="0 to 2.", show_default=False)
    ] = None,
    key: ApiKey = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Sends one message and shows the answer as it comes, then its tokens, credits and times.

    The credits are the fall of the account's balance meanwhile, so other requests of the account count too.
    """
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": _read(message)}]}
    if system is not None:
        body["messages"].insert(0, {"role": "system", "content": typed(system)})
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    if temperature is not None:
        body["temperature"] = temperature
    answer = run(_ask(find(data_dir).base_url, require_key(key), body, SystemClock(), show=not as_json))
    if as_json:
        output.print_json(_document(answer))
    else:
        _print_costs(answer)


def require_key(key: str | None) -> str:
    """The key that was given, without white space around it. Raises CliError when there is none that can be sent."""
    key = (key or "").strip()
    if not key:
        raise CliError("no API key; set MUHGPT_API_KEY or give --key (make one: muhgpt keys create --account EMAIL)")
    if not (key.isascii() and key.isprintable()):
        raise CliError("the API key holds characters that no key has; copy it again")
    return key


async def _ask(base_url: str, key: str, body: dict[str, Any], clock: Clock, *, show: bool) -> Answer:
    async with Edge(base_url, key) as edge:
        before = (await edge.get("/usage?days=1"))["balance"]
        answer = Answer()
        started = clock.monotonic()
        async for chunk in edge.chat(body):
            _take(answer, chunk, clock.monotonic() - started, show=show)
        answer.seconds = clock.monotonic() - started
        answer.credits = before - (await edge.get("/usage?days=1"))["balance"]
        return answer


def _take(answer: Answer, chunk: dict[str, Any], seconds: float, *, show: bool) -> None:
    answer.model = chunk.get("model") or answer.model
    answer.usage = chunk.get("usage") or answer.usage
    for choice in chunk["choices"]:
        delta = choice["delta"]
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
        if text := delta.get("content"):
            answer.text += text
            if answer.seconds_to_first_token is None:
                answer.seconds_to_first_token = seconds
            if show:
                output.write(output.printable(text))


def _document(answer: Answer) -> dict[str, Any]:
    first = answer.seconds_to_first_token
    return {
        "answer": answer.text,
        "model": answer.model,
        "finish_reason": answer.finish_reason,
        "usage": answer.usage,
        "credits": answer.credits,
        "seconds": round(answer.seconds, 3),
        "seconds_to_first_token": None if first is None else round(first, 3),
    }


def _print_costs(answer: Answer) -> None:
    output.write("\n")
    usage, first = answer.usage, answer.seconds_to_first_token
    facts = [
        f"{usage.get('prompt_tokens', 0):,} + {usage.get('completion_tokens', 0):,} tokens",
        f"{answer.credits:,} credits",
        f"{answer.seconds:.2f} s",
    ]
    if first is not None:
        facts.append(f"first token after {first * 1000:.0f} ms")
    if answer.finish_reason not in ("stop", None):
        facts.append(f"ended by {answer.finish_reason}")
    output.stderr.print(" · ".join(facts), style="dim")


def _read(message: str) -> str:
    return sys.stdin.read() if message == "-" else typed(message)
