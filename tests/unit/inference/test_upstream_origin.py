"""Where a request goes, and how it names its server: no URL leads anywhere else than it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.engines.upstream.http.origin import Origin, address_of, is_ip


@pytest.mark.parametrize(
    ("url", "origin", "host_header", "target"),
    [
        ("http://vllm:8000/v1/models", Origin(False, "vllm", 8000), b"vllm:8000", b"/v1/models"),
        ("https://API.example.com/v1", Origin(True, "api.example.com", 443), b"api.example.com", b"/v1"),
        ("https://a.example:443", Origin(True, "a.example", 443), b"a.example", b"/"),
        ("http://a.example:443/", Origin(False, "a.example", 443), b"a.example:443", b"/"),
        ("http://[::1]:8000/v1", Origin(False, "::1", 8000), b"[::1]:8000", b"/v1"),
        ("https://[2001:DB8:0::1]/", Origin(True, "2001:db8::1", 443), b"[2001:db8::1]", b"/"),
        ("http://10.0.0.7/v1", Origin(False, "10.0.0.7", 80), b"10.0.0.7", b"/v1"),
        ("http://a.example./v1", Origin(False, "a.example.", 80), b"a.example", b"/v1"),
        ("http://bücher.example/ü", Origin(False, "xn--bcher-kva.example", 80), b"xn--bcher-kva.example", b"/%C3%BC"),
        ("http://my_service/a b%20c%zz", Origin(False, "my_service", 80), b"my_service", b"/a%20b%20c%25zz"),
        ("http://a/v1?api-version=2026-01&x=a b", Origin(False, "a", 80), b"a", b"/v1?api-version=2026-01&x=a%20b"),
        ("http://a/v1?q=a?b#part", Origin(False, "a", 80), b"a", b"/v1?q=a?b"),
    ],
)
def test_a_url_is_split_into_server_and_names(url: str, origin: Origin, host_header: bytes, target: bytes) -> None:
    assert address_of(url) == (origin, host_header, target)


@pytest.mark.parametrize(
    "url",
    [
        *("", "v1", "/v1", "//a/v1", "ftp://a/", "file:///etc/passwd", "http://", "http:///v1", "http://:80/"),
        *(
            "http://u@a/",
            "http://u:p@a/",
            "http://@a/",
            "http://a:99999/",
            "http://a:x/",
            "http://[::1/",
            "http://[x]/",
        ),
        *("http://[fe80::1%25eth0]/", "http://a b/", "http://a\u200db/", "http://straße.example/", "http://a..b/"),
        *("http://a%20b/", "http://a\\b/", "http://" + "ü" * 64 + ".example/"),
    ],
)
def test_what_names_no_server_for_certain_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  every kind of it
        address_of(url)


def test_the_certificate_is_for_the_name_without_its_last_point() -> None:
    assert Origin(True, "a.example.", 443).tls_name == "a.example"
    assert Origin(True, "10.0.0.7", 443).tls_name == "10.0.0.7"
    assert Origin(False, "a.example", 80).tls_name is None


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0177.0.0.1", "0x7f000001", "1.2.3.4.5", "256.0.0.1"])
def test_numbers_that_hide_an_address_are_refused(host: str) -> None:
    with pytest.raises(ValueError, match="canonical"):
        is_ip(host)


def test_addresses_are_told_from_names() -> None:
    assert is_ip("127.0.0.1")
    assert is_ip("::1")
    assert not is_ip("a.example")
    assert not is_ip("1.example")


@given(st.text(max_size=40), st.text(max_size=20))
def test_no_path_ends_a_request_line_or_leaves_its_host(path: str, query: str) -> None:
    address = address_of(f"http://a.example/{path}?{query}")
    assert address.origin == Origin(False, "a.example", 80)
    assert address.target.startswith(b"/")
    assert not set(address.target) & set(b' \t\r\n\0"<>')
    assert address.target.isascii()
