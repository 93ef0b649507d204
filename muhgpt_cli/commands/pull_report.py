"""What `muhgpt models pull` prints."""

from __future__ import annotations

from typing import Any

from common.model_list import LlamaTarget
from muhgpt_cli import output
from muhgpt_cli.hub import choosing
from muhgpt_cli.hub.client import Hub, Interrupted
from muhgpt_cli.hub.pulling import Pulled, Wanted
from muhgpt_cli.model_file.list_file import ListFile

SLOTS = 4  # answers at once that inference keeps memory for (MUHGPT_INFERENCE_LLAMA_SLOTS)


def print_pulled(pulled: Pulled, listed: ListFile, next_step: str, as_json: bool) -> None:
    """What was done, and what to type next."""
    if as_json:
        output.print_json(_document(pulled, listed))
        return
    entry = pulled.entry
    fetched = f"{output.size(pulled.fetched)} fetched" if pulled.fetched else "nothing to fetch, it was here"
    output.stdout.print(f"{entry.id} is {pulled.source} ({fetched}; checksum right).", soft_wrap=True)
    output.print_facts(
        {
            "list": f"{listed.path}{'' if pulled.changed else ' (as it was)'}",
            "called": ", ".join([entry.id, *entry.aliases]),
            "context": f"{entry.context_length:,} of {pulled.traits.trained_context:,} tokens{_memory(pulled)}",
            "abilities": ", ".join(sorted(entry.abilities)),
            "price": f"{entry.price.input:,} in, {entry.price.output:,} out: credits for a million tokens",
        }
    )
    for note in pulled.notes:
        output.stdout.print(f"Note: {note}.", soft_wrap=True)
    output.stdout.print(next_step, soft_wrap=True)


def _document(pulled: Pulled, listed: ListFile) -> dict[str, Any]:
    entry = pulled.entry
    target = entry.targets[0]
    assert isinstance(target, LlamaTarget)
    return {
        "model": entry.id,
        "aliases": list(entry.aliases),
        "source": pulled.source,
        "commit": pulled.commit,
        "file": str(target.file),
        "projector": str(target.projector) if target.projector else None,
        "list": str(listed.path),
        "list_changed": pulled.changed,
        "fetched_bytes": pulled.fetched,
        "context_length": entry.context_length,
        "trained_context_length": pulled.traits.trained_context,
        "abilities": sorted(entry.abilities),
        "price": {"input": entry.price.input, "output": entry.price.output},
        "notes": list(pulled.notes),
    }


def _memory(pulled: Pulled) -> str:
    """What the context takes at most: the one figure that decides whether a larger one fits."""
    if pulled.traits.cache_bytes is None:
        return ""
    taken = pulled.traits.cache_bytes * pulled.entry.context_length * SLOTS
    return f"; {SLOTS} answers at once take up to {output.size(taken)} of memory for it"


def print_listing(hub: Hub, wanted: Wanted, as_json: bool) -> None:
    """What there is to fetch. Raises CliError."""
    try:
        repository = hub.repository(wanted.repository, wanted.revision)
    except Interrupted as interrupted:
        raise hub.unreachable(interrupted) from None
    choices = choosing.models(repository)
    rows = [(choice, choosing.projector(repository, choice)) for choice in choices]
    if as_json:
        documents = [
            {
                "file": choice.name,
                "bytes": choice.size,
                "parts": len(choice.files),
                "projector": eyes.path if eyes else None,
            }
            for choice, eyes in rows
        ]
        output.print_json({"repository": repository.id, "commit": repository.commit, "models": documents})
        return
    cells = [
        [output.printable(choice.name), output.size(choice.size), output.printable(eyes.name) if eyes else ""]
        for choice, eyes in rows
    ]
    output.print_table(["file", "size", "projector"], cells, empty="")
