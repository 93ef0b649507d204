"""The reasons in common/reasons.py are those of the contracts, and those that the services give."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor

from common.reasons import Reason
from muhgpt.inference.v1 import inference_pb2
from muhgpt.quota.v1 import quota_pb2
from services.quota.domain import outcomes


@pytest.mark.parametrize("contract", [quota_pb2.Refused.DESCRIPTOR, inference_pb2.Failed.DESCRIPTOR])
def test_every_reason_of_a_contract_is_in_the_list(contract: Descriptor) -> None:
    values = contract.enum_types_by_name["Reason"].values_by_name
    names = {name.removeprefix("REASON_") for name in values} - {"UNSPECIFIED"}
    assert names
    assert names <= Reason.__members__.keys()


def test_quota_refuses_a_session_for_no_reason_outside_the_list() -> None:
    unary_only = {"ID_REUSED"}
    assert {reason.name for reason in outcomes.Reason} - unary_only <= Reason.__members__.keys()


def test_a_reason_is_its_own_name_and_an_unknown_one_is_other() -> None:
    assert all(reason == reason.name for reason in Reason)
    assert Reason.named("KEY_EXPIRED") is Reason.KEY_EXPIRED
    assert Reason.named("SOMETHING_NEW") is Reason.OTHER
    assert Reason.named("") is Reason.OTHER
