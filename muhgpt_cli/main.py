"""`muhgpt`: the commands, and how errors leave them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import MutableMapping
from importlib.metadata import version
from typing import Annotated

import typer

from muhgpt_cli import output, streams
from muhgpt_cli.commands import accounts, charges, chat, credits, doctor, keys, losses, models, up, usage
from muhgpt_cli.errors import CliError
from muhgpt_cli.options import examples
from servicekit.observability import redaction as failures

LOOPBACK = "127.0.0.1,localhost,::1"

app = typer.Typer(
    name="muhgpt",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "muhgpt up",
        "muhgpt accounts create ada@example.com --credits 1000000",
        "muhgpt keys create --account ada@example.com",
        'MUHGPT_API_KEY=mghp_… muhgpt chat "Hello!"',
    ),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        output.write(f"muhgpt {version('muhgpt')}\n")
        raise typer.Exit


@app.callback()
def muhgpt(
    shown: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """An OpenAI-compatible API that you run for paying users: start it, make accounts and keys, watch the money."""


def keep_loopback_direct(environment: MutableMapping[str, str]) -> None:
    """Lets gRPC, here and in the services that `up` starts, reach this machine without a proxy; by itself it would send
    even loopback addresses to http_proxy."""
    told = environment.get("no_grpc_proxy") or environment.get("no_proxy")
    environment["no_grpc_proxy"] = ",".join(filter(None, [told, LOOPBACK]))


app.command(epilog=up.EPILOG)(up.up)
app.add_typer(accounts.app, name="accounts")
app.add_typer(keys.app, name="keys")
app.add_typer(credits.app, name="credits")
app.add_typer(charges.app, name="charges")
app.command(epilog=usage.EPILOG)(usage.usage)
app.command(epilog=losses.EPILOG)(losses.losses)
app.add_typer(models.app, name="models")
app.command(epilog=chat.EPILOG)(chat.chat)
app.command(epilog=doctor.EPILOG)(doctor.doctor)


def _defect(error: BaseException | None) -> None:
    if error is not None:
        sys.stderr.write(f"a defect of muhgpt: {failures.told(error)}\n")


def _tell_defects() -> None:
    """Has what nobody caught, in a thread or a destructor, told without its text, which may quote a key (G11)."""
    threading.excepthook = lambda context: _defect(context.exc_value)
    sys.unraisablehook = lambda context: _defect(context.exc_value)


def run() -> None:
    """The entry point: 0 when done, 1 with one message on stderr when it cannot be done or not be shown, 2 for wrong
    usage."""
    streams.prepare()
    _tell_defects()
    keep_loopback_direct(os.environ)
    sys.exit(streams.finish(_exit_code()))


def _exit_code() -> int:
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except output.ReaderGone:
        return 1
    except CliError as error:
        sys.stderr.write(f"error: {error}\n")
    except UnicodeEncodeError:
        sys.stderr.write("error: what was given is not valid UTF-8, or a key holds other characters than a key can\n")
    except BrokenPipeError:
        return 1
    except Exception as error:  # noqa: BLE001  typer has its own hook for what is not caught, and shows its text
        if (failed := streams.failure()) is not None:  # help, which typer writes itself
            sys.stderr.write(f"error: {streams.unwritable(failed)}\n")
        else:
            _defect(error)
    return 1


if __name__ == "__main__":
    run()
