"""The command line: `zerosearch COMMAND`. Each command lives in a file of its own under `commands/`."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from zerosearch import __version__
from zerosearch.cleaning import Screen
from zerosearch.commands.ask import ask
from zerosearch.commands.check import check
from zerosearch.commands.collect import collect
from zerosearch.commands.compare import compare
from zerosearch.commands.cost import cost
from zerosearch.commands.data import data
from zerosearch.commands.doctor import doctor
from zerosearch.commands.evaluate import evaluate
from zerosearch.commands.fidelity import fidelity
from zerosearch.commands.label import label
from zerosearch.commands.models import models
from zerosearch.commands.record import record
from zerosearch.commands.sft import sft
from zerosearch.commands.train import train
from zerosearch.commands.tune import tune
from zerosearch.errors import ZeroSearchError

app = typer.Typer(
    name="zerosearch",
    help="Teach a language model to use a search engine, with a second language model playing the engine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(train)
app.add_typer(data, name="data")
app.command()(models)
app.command()(check)
app.command()(doctor)
app.command()(cost)
app.command()(evaluate)
app.command()(sft)
app.command()(collect)
app.command()(record)
app.command()(label)
app.command()(tune)
app.command()(fidelity)
app.command()(compare)
app.command()(ask)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(f"zerosearch {__version__}")
        raise typer.Exit


def main() -> None:
    """Run a command. A user's mistake is one line on standard error and exit status 2, never a traceback."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Screen(out), Screen(err)  # whatever is printed, typer's own errors too, shows no secret
    try:
        _run()
    finally:
        sys.stdout, sys.stderr = out, err


def _run() -> None:
    console = Console(stderr=True)
    handler = RichHandler(console=console, show_time=False, show_path=False, show_level=False, markup=False)
    logging.getLogger("zerosearch").addHandler(handler)
    logging.getLogger("zerosearch").setLevel(logging.INFO)
    try:
        app()
    except ZeroSearchError as error:
        console.print("error:", str(error), style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        console.print("interrupted; what was written so far is kept", highlight=False)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
