"""What one account, one source address and the process may hold and spend (G13), with a fake clock."""

from __future__ import annotations

import pytest

from servicekit.errors import StartupError
from services.edge.http.errors import ApiError
from services.edge.http.limits import LimitNumbers, Limits, Sender
from services.edge.http.senders import Sources
from services.edge.http.spending import Spending
from tests.fakes import FakeClock

ALICE, BOB = Sender.account("acct_1"), Sender.account("acct_2")


def limits(clock: FakeClock | None = None, **numbers: object) -> Limits:
    return Limits(clock or FakeClock(), LimitNumbers(**numbers))  # type: ignore[arg-type]


def test_who_spends_the_allowance_on_refused_work_is_refused_until_it_has_drained() -> None:
    clock = FakeClock()
    spending = limits(clock).spending
    spending.charge(ALICE, 1.5)
    assert spending.refused_until(ALICE) is None
    spending.charge(ALICE, 0.5)
    until = spending.refused_until(ALICE)
    assert until == pytest.approx(clock.monotonic() + 60)
    with pytest.raises(ApiError) as refused:
        spending.check(ALICE)
    assert (refused.value.status, refused.value.code) == (429, "refused_too_often")
    assert refused.value.headers["retry-after"] == "60"
    clock.advance(59.9)
    assert spending.refused_until(ALICE) is not None
    clock.advance(0.2)
    assert spending.refused_until(ALICE) is None
    assert spending.refused_until(BOB) is None


def test_what_is_spent_slowly_is_never_refused() -> None:
    clock = FakeClock()
    spending = limits(clock).spending
    for _ in range(100):
        spending.charge(ALICE, 0.3)
        clock.advance(10)
    assert spending.refused_until(ALICE) is None


def test_one_huge_debt_is_forgotten_after_two_minutes() -> None:
    clock = FakeClock()
    spending = limits(clock).spending
    spending.charge(ALICE, 1e9)
    clock.advance(120.1)
    assert spending.refused_until(ALICE) is None


def test_many_addresses_push_out_neither_accounts_nor_memory() -> None:
    spending = Spending(FakeClock(), max_senders=100)
    spending.charge(ALICE, 5)
    first = Sender.source("198.51.100.0")
    spending.charge(first, 5)
    for number in range(100):
        spending.charge(Sender.source(f"203.0.113.{number}"), 5)
    assert spending.refused_until(ALICE) is not None
    assert spending.refused_until(first) is None, "the oldest was forgotten"


def test_an_address_may_be_wrong_sixty_times_a_minute() -> None:
    clock = FakeClock()
    unauthorized = limits(clock).unauthorized
    for _ in range(60):
        unauthorized.take("192.0.2.1")
    with pytest.raises(ApiError) as refused:
        unauthorized.take("192.0.2.1")
    assert (refused.value.status, refused.value.code) == (429, "refused_too_often")
    unauthorized.take("192.0.2.2")
    clock.advance(1.01)
    unauthorized.take("192.0.2.1")
    unauthorized.give_back("192.0.2.1")
    unauthorized.take("192.0.2.1")


def test_an_account_holds_its_share_of_bodies_and_no_more() -> None:
    bodies = limits(held_body_bytes=1000, held_body_bytes_per_account=300).bodies
    first, second = bodies.open("acct_1"), bodies.open("acct_1")
    first.grow(200)
    with pytest.raises(ApiError) as refused:
        second.grow(101)
    assert (refused.value.status, refused.value.code) == (429, "too_many_uploads")
    bodies.open("acct_2").grow(300)
    first.release()
    first.release()
    second.grow(300)
    assert bodies.total == 600


def test_room_is_made_by_the_account_that_holds_most_and_its_most_silent_upload() -> None:
    clock = FakeClock()
    bodies = limits(clock, held_body_bytes=1000, held_body_bytes_per_account=600).bodies
    cut: list[str] = []
    for name, account, size in (("a", "acct_1", 300), ("b", "acct_1", 300), ("c", "acct_2", 400)):
        upload = bodies.open(account)
        upload.cut = lambda error, name=name: cut.append(f"{name} {error.status}")
        upload.grow(size)
        clock.advance(1)
    bodies.open("acct_3").grow(100)
    assert cut == ["a 503"]
    assert bodies.total == 800


def test_who_holds_most_gets_no_room_from_others() -> None:
    bodies = limits(held_body_bytes=1000, held_body_bytes_per_account=900).bodies
    modest = bodies.open("acct_1")
    modest.cut = lambda error: pytest.fail("the modest upload was cut")
    modest.grow(200)
    greedy = bodies.open("acct_2")
    greedy.grow(800)
    with pytest.raises(ApiError) as refused:
        greedy.grow(1)
    assert (refused.value.status, refused.value.code) == (503, "server_overloaded")
    assert bodies.total == 200


class Client:
    def __init__(self) -> None:
        self.closed = False

    def make_room(self) -> None:
        self.closed = True


def test_at_its_bound_an_address_loses_the_connection_that_waits_for_longest() -> None:
    connections = limits(connections=10, connections_per_source=2).connections
    old, new, third, elsewhere = Client(), Client(), Client(), Client()
    first = connections.enter(old, "192.0.2.1")
    connections.enter(new, "192.0.2.1").works()
    connections.enter(elsewhere, "192.0.2.2")
    first.works()
    first.waits()
    connections.enter(third, "192.0.2.1").works()
    assert (old.closed, new.closed, elsewhere.closed) == (True, False, False)
    with pytest.raises(ApiError) as refused:
        connections.enter(Client(), "192.0.2.1")
    assert (refused.value.status, refused.value.code) == (429, "too_many_connections")
    assert len(connections) == 3


def test_a_full_process_makes_room_at_the_cost_of_the_address_that_has_most() -> None:
    connections = limits(connections=4, connections_per_source=4).connections
    modest, many = Client(), [Client() for _ in range(3)]
    connections.enter(modest, "192.0.2.1")
    for client in many:
        connections.enter(client, "192.0.2.2")
    connections.enter(Client(), "192.0.2.3")
    assert [client.closed for client in (modest, *many)] == [False, True, False, False]
    assert len(connections) == 4


def test_a_trusted_proxy_may_have_as_many_connections_as_there_is_room_for() -> None:
    connections = limits(connections=10, connections_per_source=1, trusted_proxies="10.0.0.0/8").connections
    clients = [Client() for _ in range(5)]
    for client in clients:
        connections.enter(client, "10.0.0.1").works()
    assert len(connections) == 5


FORWARDED = [(b"x-forwarded-for", b"203.0.113.9, 198.51.100.7"), (b"x-forwarded-for", b"10.0.0.2")]


@pytest.mark.parametrize(
    ("peer", "headers", "source"),
    [
        ("192.0.2.1", FORWARDED, "192.0.2.1"),
        ("10.0.0.1", FORWARDED, "198.51.100.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [(b"x-forwarded-for", b"10.0.0.3")], "10.0.0.3"),
        ("10.0.0.1", [(b"x-forwarded-for", b"203.0.113.9, unknown")], "10.0.0.1"),
        ("10.0.0.1", [(b"x-forwarded-for", b"198.51.100.7:4711")], "198.51.100.7"),
        ("10.0.0.1", [(b"x-forwarded-for", b"[2001:db8:1:2:3::4]:80")], "2001:db8:1:2::/64"),
        ("10.0.0.1", [(b"forwarded", b"for=203.0.113.9")], "10.0.0.1"),
        ("::ffff:10.0.0.1", [(b"x-forwarded-for", b"198.51.100.7")], "198.51.100.7"),
        ("2001:db8::1", FORWARDED, "2001:db8::/64"),
        (None, FORWARDED, "local"),
    ],
)
def test_only_a_trusted_proxy_names_the_source(
    peer: str | None, headers: list[tuple[bytes, bytes]], source: str
) -> None:
    assert Sources.parse("10.0.0.0/8").of(peer, headers) == source


def test_the_header_forwarded_names_it_where_it_is_chosen() -> None:
    sources = Sources.parse("10.0.0.1, 10.0.0.2", "forwarded")
    line = b'for=203.0.113.9;proto=https, For="[2001:db8:5::1]:99";by=10.0.0.2, for=10.0.0.2'
    assert sources.of("10.0.0.1", [(b"forwarded", line), (b"x-forwarded-for", b"1.2.3.4")]) == "2001:db8:5::/64"


def test_without_trusted_proxies_nobody_names_another_source() -> None:
    assert Sources().of("127.0.0.1", [(b"x-forwarded-for", b"203.0.113.9")]) == "127.0.0.1"


def test_a_long_list_of_proxies_ends_somewhere() -> None:
    hops = ", ".join(["198.51.100.7"] + ["10.0.0.2"] * 1000).encode()
    assert Sources.parse("10.0.0.0/8").of("10.0.0.1", [(b"x-forwarded-for", hops)]) == "10.0.0.2"


def test_what_is_no_address_among_the_proxies_is_named_by_its_place() -> None:
    with pytest.raises(StartupError, match="entry 2 of MUHGPT_EDGE_TRUSTED_PROXIES"):
        Sources.parse("10.0.0.1, nginx")


def test_a_burst_that_is_thrown_away_is_read_at_once_and_more_at_the_rate_of_all_connections() -> None:
    clock = FakeClock()
    discards = limits(clock, discarded_bytes_per_second=1000).discards
    assert discards.take(1000) == 0
    assert discards.take(500) == pytest.approx(0.5)
    assert discards.take(500) == pytest.approx(1.0)
    clock.advance(1.0)
    assert discards.take(0) == 0
    clock.advance(100)
    assert discards.take(1500) == pytest.approx(0.5), "no more is saved up than one second's worth"
