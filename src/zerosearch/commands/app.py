"""The commands as one application: each lives in a file of its own beside this one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from zerosearch import __version__
from zerosearch.commands.ask import ask
from zerosearch.commands.check import check
from zerosearch.commands.collect import collect
from zerosearch.commands.compare import compare
from zerosearch.commands.cost import cost
from zerosearch.commands.data import data
from zerosearch.commands.doctor import doctor
from zerosearch.commands.evaluate import evaluate
from zerosearch.commands.fidelity import fidelity
from zerosearch.commands.init import init
from zerosearch.commands.label import label
from zerosearch.commands.models import models
from zerosearch.commands.record import record
from zerosearch.commands.train import train
from zerosearch.commands.tune import tune


class Command(TyperCommand):
    """A command whose flags are shown as flags: `--fresh`, not `--fresh <bool>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_bare(super().get_params(ctx))


class Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _flags_bare(super().get_params(ctx))


def _flags_bare(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


app = typer.Typer(
    name="zerosearch",
    cls=Group,
    help="Teach a language model to use a search engine, with a second language model playing the engine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(command: Callable[..., None]) -> None:
    """Paragraphs of a docstring are shown as wide as the terminal, not broken where the source is."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    app.command(cls=Command, help="\n\n".join(" ".join(text.split()) for text in paragraphs))(command)


_add(train)
app.add_typer(data, name="data", cls=Group)
for _command in (init, models, check, doctor, cost, evaluate, collect, record, label, tune, fidelity, compare, ask):
    _add(_command)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(f"zerosearch {__version__}")
        raise typer.Exit
