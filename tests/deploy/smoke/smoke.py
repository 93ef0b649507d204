"""The smoke test: use a platform, restart all of it under load, compare what clients saw with the books (G9, G12)."""

from __future__ import annotations

import asyncio
import collections
import time
from typing import Any

import httpx

from tests.deploy.smoke.site import Site

SEATS = 4  # streams at once, each of an account of its own
CREDITS = 100_000_000
UNLIMITED = "1000000"  # requests a minute
ROLLED = ("auth", "quota", "inference", "edge")
REFUSED = 0.2  # share that may be refused before the first token and asked again; a very busy machine made 3 in 100
BUSY = 30.0  # seconds that a busy machine may answer 503
SETTLED = 30.0  # seconds within which every hold has ended (G3)


async def smoke(site: Site) -> None:
    """Raises AssertionError with everything that is wrong."""
    keys = [await _account(site, number) for number in range(SEATS)]
    _say("accounts, keys and credits are made")
    await _chat(site, keys[0])
    _say("a chat is answered and charged")
    load = await site.load(keys)
    windows = {}
    for service in ROLLED:
        began = time.time()
        await site.restart(service)
        windows[service] = (began, time.time())
        _say(f"{service}: every replica was restarted in {time.time() - began:.0f} s")
    requests = await load.finish()
    problems = broken(requests) + refused(requests) + idle(requests, windows) + await _books(site, keys, requests)
    assert not problems, "\n".join(problems)
    tokens = sum(each["usage"]["completion_tokens"] for each in requests)
    again = sum(len(each["refused"]) for each in requests)
    _say(f"{len(requests)} answers, {tokens} tokens: none broken, each charged once, the books balance")
    _say(f"{again} of them were refused with 503 before their first token, and asked again" if again else "no refusal")


async def _account(site: Site, number: int) -> str:
    email = f"smoke-{number}-{time.time_ns()}@example.com"
    await site.muhgpt("accounts", "create", email, "--credits", str(CREDITS), "--requests-per-minute", UNLIMITED)
    made = await site.muhgpt("keys", "create", "--account", email)
    return str(made["key"])


async def _chat(site: Site, key: str) -> None:
    body = {"model": "muh-chat", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 16}
    async with httpx.AsyncClient(timeout=60, headers={"authorization": f"Bearer {key}"}, trust_env=False) as client:
        answer = await _patiently(client, "POST", f"{site.base_url}/chat/completions", json=body)
        assert answer.json()["choices"][0]["message"]["content"], answer.text


def broken(requests: list[dict[str, Any]]) -> list[str]:
    return [f"{_name(each)}: {each['problem']}" for each in requests if each["problem"]] + [
        f"{_name(each)}: {each['tokens']} tokens came, and it says {each['usage']}"
        for each in requests
        if not each["problem"] and each["tokens"] != each["usage"]["completion_tokens"]
    ]


def refused(requests: list[dict[str, Any]]) -> list[str]:
    """A machine that stands still for a second makes a 503, which SDKs repeat; a defect of draining makes many."""
    refused = [each for request in requests for each in request["refused"]]
    return refused if len(refused) > REFUSED * len(requests) else []


def _name(request: dict[str, Any]) -> str:
    kind = "a whole answer" if request["whole"] else "a stream"
    return f"{kind} of {time.strftime('%H:%M:%S', time.localtime(request['began']))}"


def idle(requests: list[dict[str, Any]], windows: dict[str, tuple[float, float]]) -> list[str]:
    """A restart that no answer lived through proves nothing."""
    return [
        f"no answer was under way when {service} was restarted"
        for service, (began, ended) in windows.items()
        if not any(each["began"] < ended and began < each["ended"] for each in requests)
    ]


async def _books(site: Site, keys: list[str], requests: list[dict[str, Any]]) -> list[str]:
    """Receipts against what clients saw, balances against receipts, and the platform's own recount."""
    report = await _doctor(site)
    problems = [] if report["ok"] else [f"muhgpt doctor: {report}"]
    for number, key in enumerate(keys):
        receipts, balance = await _receipts(site, key)
        if number == 0:
            receipts.pop()  # the oldest: the chat before the load
        problems += compare(number, [each for each in requests if each["key"] == key], receipts, balance)
    return problems


def compare(account: int, requests: list[dict[str, Any]], receipts: list[dict[str, Any]], balance: int) -> list[str]:
    """What one account's requests were told against its receipts. `balance`: what it has too much."""
    problems = []
    seen = collections.Counter(_paid(each["usage"]) for each in requests if each.get("usage"))
    settled = [each for each in receipts if each["state"] == "settled"]
    told = collections.Counter(_paid(each) for each in settled)
    if seen != told:
        problems.append(f"account {account}: seen and not charged {seen - told}, charged and not seen {told - seen}")
    refusals = sum(len(each["refused"]) for each in requests)
    problems += unsettled(account, [each for each in receipts if each not in settled], refusals)
    if balance != 0:
        problems.append(f"account {account}: {balance} credits more than granted less charged")
    return problems


def unsettled(account: int, receipts: list[dict[str, Any]], refusals: int) -> list[str]:
    """Only refused requests may have a receipt without a charge, and that must be released."""
    wrong = [each for each in receipts if each["state"] != "released" or each["credits"]]
    problems = [f"account {account}: {each}" for each in wrong]
    if len(receipts) > refusals:
        problems.append(f"account {account}: {len(receipts)} requests were not charged, and {refusals} refused")
    return problems


def _paid(usage: dict[str, Any]) -> tuple[int, int]:
    return usage["prompt_tokens"], usage["completion_tokens"]


async def _doctor(site: Site) -> Any:
    deadline = time.monotonic() + SETTLED
    while True:
        report = await site.muhgpt("doctor")
        if not report["books"].get("open_holds") or time.monotonic() > deadline:
            return report


async def _receipts(site: Site, key: str) -> tuple[list[dict[str, Any]], int]:
    """All receipts, newest first, and by how much the balance differs from what they leave."""
    found: list[dict[str, Any]] = []
    async with httpx.AsyncClient(timeout=60, headers={"authorization": f"Bearer {key}"}, trust_env=False) as client:
        while True:
            after = {"after": found[-1]["id"]} if found else {}
            page = await _patiently(client, "GET", f"{site.base_url}/usage/charges", params={"limit": 100, **after})
            found += page.json()["data"]
            if not page.json()["has_more"]:
                break
        usage = (await _patiently(client, "GET", f"{site.base_url}/usage")).json()
    return found, usage["balance"] - (CREDITS - sum(each["credits"] for each in found))


async def _patiently(client: httpx.AsyncClient, method: str, url: str, **more: Any) -> httpx.Response:
    """A request, repeated while the answer is 503: nothing is restarted meanwhile, but the machine may be busy."""
    deadline = time.monotonic() + BUSY
    while True:
        answer = await client.request(method, url, **more)
        if answer.status_code != 503 or time.monotonic() > deadline:
            break
        await asyncio.sleep(0.5)
    assert answer.status_code == 200, f"{method} {url}: {answer.status_code} {answer.text}"
    return answer


def _say(what: str) -> None:
    print(f"smoke: {what}", flush=True)  # noqa: T201
