"""Which addresses belong to the public internet, in all their spellings."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from services.inference.domain.addresses import AllowList, is_public, literal

INNER = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255"),
    *("127.0.0.1", "127.255.255.254", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255"),
    *("192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.9"),
    *("224.0.0.1", "224.0.1.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16", "::"),
    *("::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "2001::7f00:1", "2001:db8::1", "2002:7f00:1::"),
    *("2002:a00:1::1", "3fff::1", "4000::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1"),
    *("fe80::1%eth0", "ff02::1", "ff0e::1", "100::1"),
]
PUBLIC = [
    *("1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.32.0.1", "223.255.255.254"),
    *("2606:4700:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"),
]


@pytest.mark.parametrize("text", INNER)
def test_an_inner_address_is_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_an_address_of_the_internet_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize(
    "host",
    [
        *("2130706433", "0177.0.0.1", "0x7f.1", "0x7f000001", "127.1", "127.0.1", "017700000001", "0x7F.0.0.1"),
        *("127.0.0.1.", "127.0.0.01", "256.1.1.1", "1.2.3.4.5", "0x", "", ".", "example.1", "example.0x1", "a:b"),
    ],
)
def test_an_unusual_spelling_of_an_address_is_no_host(host: str) -> None:
    with pytest.raises(ValueError, match="usual spelling"):
        literal(host)


def test_names_and_usual_addresses_are_told_apart() -> None:
    for name in ("example.com", "example.com.", "localhost", "1.example", "xn--bcher-kva.example", "0x7f.example"):
        assert literal(name) is None
    assert str(literal("93.184.216.34")) == "93.184.216.34"
    assert str(literal("2606:4700::1111")) == "2606:4700::1111"


def test_an_allow_list_knows_names_and_networks() -> None:
    allowed = AllowList.parse(" Images.Internal, 10.1.0.0/16,,::1 ")
    assert allowed.has_host("images.internal.")
    assert not allowed.has_host("other.internal")
    assert allowed.has(ip_address("10.1.2.3"))
    assert allowed.has(ip_address("::1"))
    assert not allowed.has(ip_address("10.2.0.1"))
    assert AllowList.parse("") == AllowList()


@pytest.mark.parametrize("text", ["10.1.0.1/16", "http://a", "a b", "-a", "10.0.0.0/99"])
def test_a_wrong_entry_of_the_allow_list_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="neither a host's name nor a network"):
        AllowList.parse(f"ok.example,{text}")
