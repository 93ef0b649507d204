"""The books: what a user sees, what the operator sees and what was charged are one number."""

from __future__ import annotations

from openai import OpenAI

from muhgpt.quota.v1 import quota_pb2
from muhgpt_cli.operator_client import Operator
from muhgpt_cli.system import find
from tests.worlds.processes import Account, Platform, run_muhgpt, until

INPUT, OUTPUT = 1, 3  # credits a token, in the model list that is shipped


def spend(client: OpenAI, requests: int, **options: object) -> int:
    """Sends requests, every second one streamed; returns what they must cost by the usage they told."""
    cost = 0
    for number in range(requests):
        request = {"model": "muh-chat", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 5 + number}
        if number % 2:
            *_, last = client.chat.completions.create(**request, stream=True, **options)
            usage = last.usage
        else:
            usage = client.chat.completions.create(**request, **options).usage
        assert usage is not None
        cost += usage.prompt_tokens * INPUT + usage.completion_tokens * OUTPUT
    return cost


async def ledger(platform: Platform, account: Account) -> list[quota_pb2.LedgerEntry]:
    async with Operator(find(platform.data_dir)) as operator:
        request = quota_pb2.ListLedgerRequest(account_id=account.account_id, page_size=1000)
        return list((await operator.quota.call("ListLedger", request)).entries)


async def test_after_ten_requests_usage_ledger_and_doctor_agree_to_the_credit(
    platform: Platform, account: Account, client: OpenAI
) -> None:
    cost = spend(client, 10)
    usage = platform.usage(account.key)
    assert usage["object"] == "usage"
    assert usage["balance"] == 1_000_000 - cost
    assert (usage["totals"]["credits"], usage["totals"]["requests"]) == (cost, 10)
    assert sum(day["credits"] for day in usage["daily"]) == cost
    assert usage["by_model"] == [{"model": "muh-chat", "credits": cost}]

    entries = await ledger(platform, account)
    charges = [entry.credits for entry in entries if entry.kind == quota_pb2.LedgerEntry.KIND_CHARGE]
    assert (len(charges), sum(charges)) == (10, -cost)
    assert sum(entry.credits for entry in entries) == usage["balance"]

    operators = platform.muhgpt("usage", "--account", account.email)
    assert (operators["balance"], operators["held"], operators["totals"]["credits"]) == (usage["balance"], 0, cost)
    report = platform.muhgpt("doctor")
    assert report["ok"] is True
    assert report["books"]["differences"] == []


def test_receipts_page_by_page_explain_the_usage_to_the_credit(
    platform: Platform, account: Account, client: OpenAI
) -> None:
    cost = spend(client, 5)
    receipts, after = [], ""
    while True:
        page = platform.get(f"/usage/charges?limit=2&after={after}", account.key)
        receipts += page["data"]
        if not page["has_more"]:
            break
        after = page["last_id"]
    assert len({receipt["id"] for receipt in receipts}) == 5
    assert [receipt["created"] for receipt in receipts] == sorted((each["created"] for each in receipts), reverse=True)
    assert sum(receipt["credits"] for receipt in receipts) == cost == platform.usage(account.key)["totals"]["credits"]
    for receipt in receipts:
        tokens = (
            receipt["prompt_tokens"] * receipt["input_price"],
            receipt["completion_tokens"] * receipt["output_price"],
        )
        assert receipt["credits"] == sum(tokens) // 1_000_000


def test_two_accounts_never_see_each_others_usage(platform: Platform) -> None:
    ada, bob = platform.account(), platform.account(credits=500)
    with platform.openai(ada.key) as client:
        cost = spend(client, 2)
    assert platform.usage(ada.key)["totals"] == {**platform.usage(ada.key)["totals"], "credits": cost, "requests": 2}
    assert platform.usage(bob.key) == {
        "object": "usage",
        "balance": 500,
        "totals": {"credits": 0, "tokens": 0, "requests": 0},
        "daily": [],
        "by_model": [],
    }


def test_two_keys_of_one_account_share_its_usage(platform: Platform, account: Account, client: OpenAI) -> None:
    second = platform.key(account, name="second").secret
    cost = spend(client, 2)
    assert platform.usage(second)["totals"]["credits"] == cost


def test_max_tokens_is_clipped_to_what_the_balance_pays_to_the_token(platform: Platform) -> None:
    with platform.openai(platform.account().key) as client:
        prompt = client.chat.completions.create(
            model="muh-chat", messages=[{"role": "user", "content": "Count to twenty."}], max_tokens=1
        ).usage
    assert prompt is not None
    poor = platform.account(credits=prompt.prompt_tokens * INPUT + 4 * OUTPUT + 1)
    with platform.openai(poor.key) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="muh-chat", messages=[{"role": "user", "content": "Count to twenty."}]
        )
    completion = answer.parse()
    assert answer.headers["x-muhgpt-max-tokens"] == "4"
    assert completion.usage is not None
    assert (completion.usage.completion_tokens, completion.choices[0].finish_reason) == (4, "length")
    assert platform.usage(poor.key)["balance"] == 1


def test_a_client_that_leaves_pays_for_what_was_generated_and_its_hold_returns(
    platform: Platform, account: Account, client: OpenAI
) -> None:
    with client.chat.completions.create(
        model="muh-chat", messages=[{"role": "user", "content": "Count to a hundred."}], stream=True
    ) as stream:
        next(stream), next(stream)
    spent = until(lambda: platform.usage(account.key)["totals"]["credits"], 10, "the charge of a cut answer")
    assert platform.usage(account.key)["balance"] == 1_000_000 - spent
    assert platform.muhgpt("usage", "--account", account.email)["held"] == 0


def test_grants_and_refunds_with_an_id_happen_once(platform: Platform, account: Account) -> None:
    grant = ("credits", "grant", "--account", account.email, "500", "--id", f"g-{account.key_id}")
    refund = ("credits", "refund", "--account", account.email, "200", "--id", f"r-{account.key_id}")
    for command, balance in ((grant, 1_000_500), (refund, 1_000_300)):
        for repeated in (False, True):
            told = platform.muhgpt(*command)
            assert (told["balance"], told["repeated"]) == (balance, repeated)
        shown = run_muhgpt(*command, "--data-dir", str(platform.data_dir)).stdout
        assert "Nothing was changed now" in shown
    assert platform.usage(account.key)["balance"] == 1_000_300
