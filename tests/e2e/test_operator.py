"""The command line against the running platform."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import openai
import pytest

from tests.worlds.processes import Account, Platform, run_muhgpt, until


def addresses(platform: Platform, **changed: str) -> dict[str, str]:
    """The environment that leads to the platform without its data directory."""
    run: dict[str, Any] = json.loads((platform.data_dir / "run.json").read_text())
    found = {f"MUHGPT_CLI_{name.upper()}_ADDRESS": run["addresses"][name] for name in ("auth", "quota", "inference")}
    token = {"MUHGPT_CLI_OPERATOR_TOKEN_FILE": str(platform.data_dir / "operator.token")}
    return {**found, **token, "MUHGPT_CLI_BASE_URL": platform.base_url, **changed}


def at(platform: Platform, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_muhgpt(*arguments, "--data-dir", str(platform.data_dir))


def test_an_account_is_made_listed_limited_and_given_keys(platform: Platform) -> None:
    made = platform.muhgpt("accounts", "create", "Grace@example.com", "--credits", "5000", "--requests-per-minute", "7")
    assert made["email"] == "grace@example.com"
    assert (made["credits"], made["requests_per_minute"]) == (5000, 7)
    listed = {account["account_id"]: account for account in platform.muhgpt("accounts", "list")["accounts"]}
    assert listed[made["account_id"]]["balance"] == 5000
    limited = platform.muhgpt("accounts", "set", "grace@example.com", "--requests-per-minute", "9")
    assert limited["requests_per_minute"] == 9

    options = ("--name", "x", "--monthly-limit", "100", "--model", "gpt-4o", "--expires", "2099-01-31")
    key = platform.muhgpt("keys", "create", "--account", "grace@example.com", *options)
    assert key["key"].startswith(key["prefix"])
    assert (key["monthly_limit"], key["models"], key["expires_at"]) == (100, ["gpt-4o"], "2099-01-31T00:00:00Z")
    without_secret = {name: value for name, value in key.items() if name != "key"}
    listed = platform.muhgpt("keys", "list", "--account", "grace@example.com")
    assert listed == {"keys": [without_secret], "more": False}


def test_a_key_for_a_model_that_nobody_knows_is_made_with_a_warning(platform: Platform, account: Account) -> None:
    for models, warned in ((("gpt-4o", "muh-chat"), False), (("gpt-4o", "muh-caht"), True)):
        options = [option for model in models for option in ("--model", model)]
        answer = at(platform, "keys", "create", "--account", account.email, *options, "--json")
        assert answer.returncode == 0
        assert json.loads(answer.stdout)["models"] == list(models)
        assert ("muh-caht" in answer.stderr) is warned
        assert "gpt-4o" not in answer.stderr


def test_the_doctor_counts_accounts_without_credits_too(platform: Platform) -> None:
    before = platform.muhgpt("doctor")
    platform.muhgpt("accounts", "create", "penniless@example.com")
    after = platform.muhgpt("doctor")
    assert (after["accounts"] - before["accounts"], after["books"]["accounts"]) == (1, before["books"]["accounts"])
    assert "with books" in at(platform, "doctor").stdout


def test_what_is_refused_is_one_line_with_the_reason(platform: Platform, account: Account) -> None:
    for arguments, said in [
        (("accounts", "create", account.email), "email"),
        (("keys", "create", "--account", "nobody@example.com"), "email"),
        (("keys", "create", "--account", account.email, "--expires", "2001-01-01"), "future"),
        (("keys", "revoke", "key_nobody"), "key"),
        (("credits", "refund", "--account", account.email, "999999999"), "credits"),
    ]:
        answer = at(platform, *arguments)
        assert (answer.returncode, answer.stdout) == (1, ""), arguments
        assert answer.stderr.startswith("error: "), arguments
        assert said in answer.stderr, arguments
        assert answer.stderr.count("\n") == 1, arguments


def test_ten_keys_are_the_most(platform: Platform, account: Account) -> None:
    for _ in range(9):
        platform.key(account)
    answer = at(platform, "keys", "create", "--account", account.email)
    assert answer.returncode == 1
    assert "10" in answer.stderr or "ten" in answer.stderr


def test_chat_streams_an_answer_and_tells_its_cost(platform: Platform, account: Account) -> None:
    answer = platform.muhgpt("chat", "Hello!", "--key", account.key, "--max-tokens", "20")
    usage = answer["usage"]
    assert answer["answer"]
    assert answer["credits"] == usage["prompt_tokens"] + 3 * usage["completion_tokens"]
    assert 0 < answer["seconds_to_first_token"] <= answer["seconds"]
    for_people = at(platform, "chat", "Hello!", "--key", account.key, "--max-tokens", "20")
    assert for_people.stdout.strip()
    assert "credits" in for_people.stderr


def test_chat_shows_the_servers_own_message(platform: Platform, account: Account) -> None:
    answer = at(platform, "chat", "Hello!", "--key", account.key, "--model", "gpt-17")
    assert answer.returncode == 1
    assert "gpt-17" in answer.stderr
    assert "(HTTP 404)" in answer.stderr


def test_models_are_listed_for_a_key_and_for_the_operator(platform: Platform, account: Account) -> None:
    of_key = platform.muhgpt("models", "--key", account.key)["models"]
    of_platform = platform.muhgpt("models")["models"]
    told = [{name: model[name] for name in ("id", "context_length", "abilities")} for model in (*of_key, *of_platform)]
    assert sorted(told[: len(of_key)], key=str) == sorted(told[len(of_key) :], key=str)
    assert "tools" in of_key[0]["abilities"]
    assert all(model["ready"] for model in of_platform)


def test_a_system_is_found_by_addresses_in_the_environment(platform: Platform) -> None:
    answer = run_muhgpt("doctor", "--json", env=addresses(platform))
    assert (answer.returncode, json.loads(answer.stdout)["ok"]) == (0, True)


def test_the_doctor_exits_with_1_when_a_service_does_not_answer(platform: Platform) -> None:
    nowhere = addresses(platform, MUHGPT_CLI_INFERENCE_ADDRESS="127.0.0.1:1")
    answer = run_muhgpt("doctor", "--json", env=nowhere)
    report = json.loads(answer.stdout)
    assert (answer.returncode, report["ok"]) == (1, False)
    assert report["services"]["inference"] == {"ok": False, "address": "127.0.0.1:1", "status": "does not answer"}
    assert report["services"]["auth"]["ok"] is True


def test_a_wrong_operator_token_is_refused_and_said(platform: Platform) -> None:
    environment = addresses(platform)
    del environment["MUHGPT_CLI_OPERATOR_TOKEN_FILE"]
    answer = run_muhgpt(
        "accounts", "list", env={**environment, "MUHGPT_CLI_OPERATOR_TOKEN": "the wrong operator token"}
    )
    assert answer.returncode == 1
    assert "refused the operator token" in answer.stderr


def test_an_account_whose_grant_failed_is_told_with_what_to_run_and_it_cannot_double(platform: Platform) -> None:
    nowhere = addresses(platform, MUHGPT_CLI_QUOTA_ADDRESS="127.0.0.1:1")
    answer = run_muhgpt("accounts", "create", "halfway@example.com", "--credits", "700", env=nowhere)
    assert answer.returncode == 1
    command = answer.stderr.strip().rpartition("muhgpt ")[2].split()
    for _ in range(2):
        assert platform.muhgpt(*command)["balance"] == 700


def test_a_key_that_has_expired_is_refused(platform: Platform, account: Account) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    key = platform.muhgpt("keys", "create", "--account", account.email, "--expires", soon)["key"]
    with platform.openai(key) as client:

        def refused() -> bool:
            try:
                client.models.list()
            except openai.AuthenticationError:
                return True
            return False

        until(refused, 20, "the key stops working at its expiry")
    with pytest.raises(openai.AuthenticationError), platform.openai(key) as client:
        client.models.list()


def test_a_charge_is_followed_from_the_log_to_the_ledger(platform: Platform, account: Account) -> None:
    platform.muhgpt("chat", "Hello!", "--key", account.key, "--max-tokens", "5")
    page = platform.muhgpt("charges", "list", "--account", account.email, "--limit", "1")
    [listed] = page["charges"]
    events = [json.loads(line) for line in (platform.data_dir / "logs" / "edge.log").read_text().splitlines()]
    [logged] = [event for event in events if event.get("charge_id") == listed["id"]]
    assert logged["account_id"] == page["account_id"]
    shown = platform.muhgpt("charges", "show", listed["id"])
    assert (shown["email"], shown["state"], shown["held"]) == (account.email, "settled", 0)
    assert {**shown, **listed} == shown
    assert (shown["produced"], shown["input_units"]) == (True, None)
    assert shown["credits"] == shown["prompt_tokens"] + 3 * shown["output_tokens"]
    ledger = platform.muhgpt("credits", "ledger", "--account", account.email)["entries"]
    assert [(entry["kind"], entry["credits"]) for entry in ledger] == [
        ("charge", -shown["credits"]),
        ("grant", 1_000_000),
    ]
    assert ledger[0]["reference"] == listed["id"]
    rest = platform.muhgpt("credits", "ledger", "--account", account.email, "--before", str(ledger[0]["entry"]))
    assert [entry["kind"] for entry in rest["entries"]] == ["grant"]
    for_people = at(platform, "charges", "show", listed["id"])
    assert account.email in for_people.stdout
    assert at(platform, "charges", "show", "12").returncode == 2
    unknown = at(platform, "charges", "show", "00" * 16)
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)
