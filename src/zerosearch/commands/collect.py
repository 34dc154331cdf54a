"""`zerosearch collect`: a policy answers questions with a real engine; every episode is kept whole."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerosearch.collecting import Collecting
from zerosearch.collecting import collect as collect_pages
from zerosearch.commands.data import FIELDS_HELP
from zerosearch.commands.screen import console, typed
from zerosearch.config_file import load_config


def collect(
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file as for train: its policy, protocol and real engine.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the episodes; the same command resumes.")],
    questions: Annotated[
        str | None, typer.Option(help="Questions to use instead of data.train, in the same form.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N questions.")] = None,
    fields: Annotated[str | None, typer.Option(help=FIELDS_HELP)] = None,
    rollouts: Annotated[int, typer.Option(min=1, help="Number of episodes for each question.")] = 1,
    temperature: Annotated[
        float,
        typer.Option(min=0, help="Sampling temperature; 0 is greedy, and all rollouts of a question are the same."),
    ] = 1.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Number of episodes at once.")] = 64,
    depth: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Documents to ask for; the policy sees the first top_k. With engine.cache, `record` of the same depth "
            "then searches nothing twice.",
        ),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Collect episodes of a policy with a real engine. Their pages can then be labelled, and a simulator tuned on
    them.

    The engine is the configuration's `engine`, or its `evaluation.engine` if `engine` is simulated.
    """
    config = load_config(config_file, set_ or ())
    how = Collecting(limit, fields, rollouts, temperature, concurrency, depth)
    done = collect_pages(config, out, questions, how, console.print)
    if done.searches > done.failed:
        console.next(typed("label", config_file, out))
