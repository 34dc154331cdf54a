"""`zerosearch refresh`: tune a run's simulator on the queries of the policy that the run made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.app import load
from zerosearch.commands.screen import console
from zerosearch.process.runtime import prepare
from zerosearch.refreshing import going_on, open_refresh, perform, stages


def refresh(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, such as runs/NAME: its newest policy.")],
    pages: Annotated[
        list[Path] | None,
        typer.Option(help="Older recorded pages, to tune on these and the new ones together; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for all that is made; the same command resumes. Default: RUN/refreshed.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Play the first N training questions. Default: 1000, or data.limit if that is fewer."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, for every stage.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands and stop.")] = False,
) -> None:
    """Tune a run's simulator on what its policy asks by now: collect, record, label, tune, each a command of its own.

    The policy of the newest checkpoint plays training questions with the real engine (evaluation.engine). Its queries
    are recorded, and what the run's simulator is made of is tuned: hits, and an adapter of style tuned (by tune.by) or
    passages. A budget holds for each stage. The last line is the command that trains on with the result.
    """
    prepare()
    asked = open_refresh(run, out, pages or (), set_ or (), limit)
    last = going_on(asked)
    if dry_run:
        for command in [*(stage.command for stage in stages(asked)), last]:
            console.print(command, soft_wrap=True)
        return
    with console.guiding():
        perform(asked, call, console.print)
    console.print(f"refreshed: {', '.join(str(asked.made(way)) for way in asked.ways)}")
    console.next(last)


def call(words: Sequence[str]) -> None:
    """The command of these words, in this process. Raises what it raises."""
    load(words[0]).main(args=list(words[1:]), prog_name=f"zerosearch {words[0]}", standalone_mode=False)
