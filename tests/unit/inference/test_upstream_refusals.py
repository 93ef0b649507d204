"""What an upstream says of a request reaches the client without the operator's secrets."""

from __future__ import annotations

from services.inference.domain.errors import InvalidRequest
from services.inference.engines.upstream.refusals import without_secrets

HEADERS = (("Authorization", "Bearer operators-own-key"), ("x-version", "2"))


def test_our_key_is_taken_out_of_an_upstreams_message_and_the_rest_stays() -> None:
    told = without_secrets(InvalidRequest("key operators-own-key: 2 tokens too many", param="messages"), HEADERS)
    assert (told.message, told.param) == ("key …: 2 tokens too many", "messages")


def test_a_param_that_holds_our_key_is_left_out() -> None:
    assert without_secrets(InvalidRequest("wrong", param="operators-own-key"), HEADERS).param == ""


def test_keys_that_the_upstream_masked_its_own_way_go_too() -> None:
    told = without_secrets(InvalidRequest("Incorrect API key provided: sk-proj-ab_cd."), HEADERS)
    assert told.message == "Incorrect API key provided: sk-…."
