"""`zerosearch collect`: a policy answers questions with a real engine; every episode is kept whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerosearch.collecting import Collecting
from zerosearch.collecting import collect as collect_pages
from zerosearch.commands.data import FIELDS_HELP
from zerosearch.commands.screen import console
from zerosearch.config_file import load_config


def collect(
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file as for train: its policy, protocol and real engine.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to collect in; the same command resumes.")],
    questions: Annotated[str | None, typer.Option(help="Other questions than data.train, written like it.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N questions.")] = None,
    fields: Annotated[str | None, typer.Option(help=FIELDS_HELP)] = None,
    rollouts: Annotated[int, typer.Option(min=1, help="Episodes a question.")] = 1,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 is greedy: all rollouts of a question would be the same.")
    ] = 1.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Episodes at a time.")] = 64,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Collect trajectories with a real engine, to label their pages and tune a simulator on them.

    The engine is the configuration's `engine`, or where that is simulated its `evaluation.engine`.
    """
    config = load_config(config_file, set_ or ())
    how = Collecting(limit, fields, rollouts, temperature, concurrency)
    collect_pages(config, out, questions, how, console.print)
