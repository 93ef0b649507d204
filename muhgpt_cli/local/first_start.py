"""The first account and key of a new local system, so that there is something to call it with."""

from __future__ import annotations

from muhgpt.auth.v1 import auth_pb2
from muhgpt_cli.commands.accounts import grant_first
from muhgpt_cli.operator_client import Operator
from muhgpt_cli.system import System

EMAIL = "you@example.com"
CREDITS = 14_000_000


async def first_key(system: System) -> auth_pb2.CreateKeyResponse | None:
    """Makes the first account with 14,000,000 credits and a key; returns the key. None when there are accounts already.

    A start that was killed between the account and its key is finished by the next one. Raises CallFailed.
    """
    async with Operator(system) as operator:
        oldest = await anext(operator.accounts(), None)
        if oldest is None:
            answer = await operator.auth.call("CreateAccount", auth_pb2.CreateAccountRequest(email=EMAIL))
            account = answer.account
        elif oldest.email == EMAIL and await anext(operator.keys(oldest.account_id), None) is None:
            account = oldest
        else:
            return None
        await grant_first(operator, account, CREDITS)
        request = auth_pb2.CreateKeyRequest(account_id=account.account_id, name="first key")
        made: auth_pb2.CreateKeyResponse = await operator.auth.call("CreateKey", request)
        return made
