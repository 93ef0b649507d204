"""The cache of principals: bounded, and emptied by what auth takes back."""

from __future__ import annotations

import time

from muhgpt.auth.v1 import auth_pb2
from services.edge.peers.auth.principals import Principal, PrincipalCache


def _principal(account: str, key: str) -> Principal:
    return Principal.from_proto(auth_pb2.Principal(account_id=account, key_id=key, requests_per_minute=60))


def _cache(size: int = 10) -> PrincipalCache:
    cache = PrincipalCache(size)
    for account, key in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        cache.put(key.encode(), _principal(account, key))
    return cache


def test_the_least_recently_used_makes_room() -> None:
    cache = _cache(3)
    cache.get(b"a1")
    cache.put(b"c1", _principal("c", "c1"))
    assert cache.get(b"a2") is None
    assert cache.get(b"a1") is not None
    assert len(cache) == 3


def test_forgetting_a_key_leaves_the_accounts_others() -> None:
    cache = _cache()
    cache.forget(account_id="a", key_id="a1")
    assert cache.get(b"a1") is None
    assert cache.get(b"a2") is not None


def test_forgetting_an_account_forgets_all_its_keys_and_nobody_elses() -> None:
    cache = _cache()
    cache.forget(account_id="a")
    assert (cache.get(b"a1"), cache.get(b"a2")) == (None, None)
    assert cache.get(b"b1") is not None


def test_a_key_that_made_room_or_changed_hands_is_forgotten_with_its_account_too() -> None:
    cache = _cache(3)
    cache.put(b"c1", _principal("c", "c1"))  # a1 made room
    cache.put(b"a2", _principal("b", "a2"))
    cache.forget(account_id="a")
    assert cache.get(b"a2") is not None
    cache.forget(account_id="b")
    assert len(cache) == 1


def test_a_change_costs_what_its_account_has_keys_and_not_what_the_cache_holds() -> None:
    cache = PrincipalCache(100_000)
    for number in range(100_000):
        cache.put(number.to_bytes(4), _principal(f"acct_{number}", "key"))
    began = time.process_time()
    for number in range(1_000):
        cache.forget(account_id=f"acct_{number}", key_id="key")
    assert time.process_time() - began < 0.5  # a scan takes 16 ms each
    assert len(cache) == 99_000


def test_absent_fields_of_a_principal_are_none_and_not_zero() -> None:
    principal = _principal("a", "a1")
    assert principal.monthly_credit_limit is None
    assert principal.key_requests_per_minute is None
    assert principal.expires_at_us is None
    assert principal.allowed_models == frozenset()
