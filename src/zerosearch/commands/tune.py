"""`zerosearch tune`: labelled pages in, a simulator out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.screen import console
from zerosearch.config_file import as_overrides, load_config
from zerosearch.process.runtime import prepare


class Way(StrEnum):
    """Whose labels count."""

    outcome = "outcome"
    judge = "judge"
    evidence = "evidence"
    rank = "rank"


def tune(
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file: [tune], engine.simulated.model and engine.top_k.")
    ],
    labels: Annotated[list[Path], typer.Argument(help="Files that `zerosearch label` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to write the adapter (or with --full the model) to.")],
    by: Annotated[Way | None, typer.Option(help="Whose labels count: --set tune.by=...")] = None,
    start: Annotated[str | None, typer.Option(help="Go on from this adapter: --set tune.start=...")] = None,
    full: Annotated[bool, typer.Option("--full", help="Tune all weights: --set tune.full=true")] = False,
    pages: Annotated[int | None, typer.Option(min=40, help="At most N pages: --set tune.pages=...")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Stop by then: --set tune.max_minutes=...")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Tune a LoRA adapter (or all weights) to write pages as the real engine did, useful or noisy as the prompt says.

    Classes are balanced, the loss is on the page alone, validation questions are held out, and training stops early.
    """
    prepare()
    short = {"by": by, "start": start, "full": full or None, "pages": pages, "max_minutes": max_minutes}
    told = as_overrides({f"tune.{key}": value for key, value in short.items()})
    config = load_config(config_file, [*told, *(set_ or ())])
    from zerosearch.learning.tuning import tune as tune_simulator

    tune_simulator(config, labels, out, console.print)
    use = f"engine.simulated.{'model' if config.tune.full else 'adapter'}={out}"
    console.print(f"next: zerosearch fidelity {config_file} --set {use} --set engine.simulated.style=tuned")
