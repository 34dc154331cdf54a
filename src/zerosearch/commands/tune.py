"""`zerosearch tune`: make a simulator from labelled pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.fidelity import decision_table
from zerosearch.commands.screen import console, typed
from zerosearch.config import TrainConfig
from zerosearch.config_file import as_overrides, load_config
from zerosearch.process.runtime import prepare


def tune(
    config_file: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="A TOML file: [tune], engine.simulated.model and engine.top_k.")
    ],
    labels: Annotated[
        list[Path],
        typer.Argument(help="Files that `zerosearch label` wrote; with --by passages or hits: recorded pages."),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the adapter (tune.full: for the model); with --by hits a file.")
    ],
    by: Annotated[
        str | None,
        typer.Option(help="Which labels to use: outcome, judge, evidence, rank, passages or hits: --set tune.by=..."),
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Tune a LoRA adapter (or all weights) to write pages like the real engine, useful or noisy as the prompt says.

    Classes are balanced, the loss covers the page only, some questions are held out for validation, and training
    stops early. With --by hits no model is tuned: a small predictor learns from recorded pages which queries find
    the answer.
    """
    prepare()
    config = load_config(config_file, [*as_overrides({"tune.by": by}), *(set_ or ())])
    if config.tune.by == "hits":
        from zerosearch.simulator.hit_training import tune_hits

        made = tune_hits(config, labels, out, console.print).made
        console.print(decision_table(made["held_out"], "queries of questions that were not fitted on"))
        console.next(typed("fidelity", config_file, "--set", f"engine.simulated.hits={out}"))
        return
    from zerosearch.learning.tuning import tune as tune_simulator

    tune_simulator(config, labels, out, console.print)
    settings = [word for setting in _use(config, out) for word in ("--set", f"engine.simulated.{setting}")]
    console.next(typed("fidelity", config_file, *settings))


def _use(config: TrainConfig, out: Path) -> list[str]:
    """What `config` lacks to use what was tuned. The style of an adapter is in its card; a whole model has no card."""
    ours, style = config.engine.simulated, "passages" if config.tune.by == "passages" else "tuned"
    used = [f"model={out}", "adapter=none"] if config.tune.full else [f"adapter={out}"]
    used += [f"style={style}"] if config.tune.full or ours.style != style else []
    if style == "passages":  # a predictor decides what they state
        used += ["hits=default"] if ours.hits is None else []
        used += ["plan_temperature=none"] if ours.plan_temperature is not None else []
    return used
