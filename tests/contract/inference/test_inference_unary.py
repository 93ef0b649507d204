"""The inference service's unary calls over real gRPC: requests prepared ahead, and the list of models."""

from __future__ import annotations

import grpc
import pytest

from muhgpt.inference.v1 import inference_pb2 as pb
from servicekit.rpc.client import connect
from servicekit.rpc.status import RpcFailure
from tests.contract.inference.session_client import SessionClient, chat, open_session
from tests.fakes import FakeClock
from tests.fakes_engine import EDGE_TOKEN, MUH_CHAT, OPERATOR_TOKEN, ScriptedEngine, start_inference


async def test_a_large_request_is_prepared_ahead_and_goes_by_its_handle_once() -> None:
    async with (
        start_inference(ScriptedEngine("ok", prompt_tokens=9)) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
    ):
        wanted = pb.PrepareRequest(session_id=edge.session_id, request=chat())
        response = await edge.peer.call(edge.stub.Prepare, wanted, timeout=5)
        assert response.prepared.prompt_tokens == 9
        number = await edge.prepare(handle=response.handle)
        assert (await edge.event(number)).prepared.prompt_tokens == 9
        await edge.go(number)
        assert (await edge.to_end(number))[-1].finished.output_tokens == 1
        again = await edge.prepare(handle=response.handle)
        assert (await edge.event(again)).failed.reason == pb.Failed.REASON_ENGINE_UNAVAILABLE


async def test_a_handle_serves_no_other_session_and_expires_after_a_minute() -> None:
    clock = FakeClock()
    async with (
        start_inference(ScriptedEngine("ok"), clock=clock) as running,
        open_session(running.address, EDGE_TOKEN) as edge,
        open_session(running.address, EDGE_TOKEN, b"t" * 16) as other,
    ):
        wanted = pb.PrepareRequest(session_id=edge.session_id, request=chat())
        handle = (await edge.peer.call(edge.stub.Prepare, wanted, timeout=5)).handle
        stolen = await other.prepare(handle=handle)
        assert (await other.event(stolen)).WhichOneof("event") == "failed"
        clock.advance(61)
        late = await edge.prepare(handle=handle)
        assert (await edge.event(late)).WhichOneof("event") == "failed"


async def test_the_unary_prepare_fails_with_the_same_reasons() -> None:
    async with start_inference(ScriptedEngine("ok")) as running, open_session(running.address, EDGE_TOKEN) as edge:
        wanted = pb.PrepareRequest(session_id=edge.session_id, request=chat(model="gpt-17"))
        with pytest.raises(RpcFailure) as caught:
            await edge.peer.call(edge.stub.Prepare, wanted, timeout=5)
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN")


async def test_every_alias_is_listed_with_its_canonical_model() -> None:
    async with start_inference(ScriptedEngine("ok")) as running:
        peer = connect(running.address, token=OPERATOR_TOKEN)
        client = SessionClient(peer)
        models = (await peer.call(client.stub.ListModels, pb.ListModelsRequest(), timeout=5)).models
        assert [model.alias for model in models] == ["muh-chat", *MUH_CHAT.aliases]
        assert {(model.model, model.context_length, model.ready) for model in models} == {("muh-chat", 2048, True)}
        await client.close()
        await peer.close()
