"""`muhgpt models`: what can be asked for, and fetching more."""

from __future__ import annotations

from typing import Any

import typer

from muhgpt.inference.v1 import inference_pb2
from muhgpt_cli import output
from muhgpt_cli.commands import pull
from muhgpt_cli.edge_client import Edge
from muhgpt_cli.operator_client import Operator, run
from muhgpt_cli.options import ApiKey, DataDir, Json, examples
from muhgpt_cli.system import System, find

EPILOG = examples(
    "muhgpt models",
    "MUHGPT_API_KEY=mghp_… muhgpt models --json",
    "muhgpt models pull Qwen/Qwen2.5-1.5B-Instruct-GGUF --alias muh-chat",
)

OF_A_MODEL = ("id", "owned_by", "context_length", "abilities")

app = typer.Typer(invoke_without_command=True)
app.command(epilog=pull.EPILOG)(pull.pull)


@app.callback(epilog=EPILOG)
def models(context: typer.Context, key: ApiKey = None, data_dir: DataDir = None, as_json: Json = False) -> None:
    """Lists models: with an API key what the key may call, else all that the platform runs, as its operator.

    Prices are credits for a million tokens, as the model list says; only the operator is shown them.
    """
    if context.invoked_subcommand is not None:
        return
    system = find(data_dir)
    documents = run(_of_key(system, key) if key else _of_platform(system))
    if as_json:
        output.print_json({"models": documents})
        return
    columns = list(documents[0]) if documents else []
    rows = [[_cell(document[column]) for column in columns] for document in documents]
    headings = [column.replace("_", " ") for column in columns]
    output.print_table(headings, rows, empty="There is no model to call.")


async def _of_key(system: System, key: str) -> list[dict[str, Any]]:
    async with Edge(system.base_url, key) as edge:
        listing = await edge.get("/models")
    return [{field: model[field] for field in OF_A_MODEL} for model in listing["data"]]


async def _of_platform(system: System) -> list[dict[str, Any]]:
    async with Operator(system) as operator:
        answer = await operator.inference.call_idempotent("ListModels", inference_pb2.ListModelsRequest())
    return [
        {
            "id": model.alias,
            "model": model.model,
            "owned_by": model.owned_by,
            "context_length": model.context_length,
            "abilities": _abilities(model),
            "input_price": model.input_price if model.HasField("input_price") else None,
            "output_price": model.output_price if model.HasField("output_price") else None,
            "ready": model.ready,
        }
        for model in answer.models
    ]


def _abilities(model: inference_pb2.Model) -> list[str]:
    told = {"tools": model.supports_tools, "vision": model.supports_vision, "json": model.supports_json}
    return [name for name, has in told.items() if has]


def _cell(value: Any) -> object:
    return ", ".join(value) if isinstance(value, list) else value
