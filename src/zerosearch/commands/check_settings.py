"""For `zerosearch check`: what a configuration means (settings, curriculum, searches)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table
from rich.text import Text

from zerosearch.commands.screen import console
from zerosearch.commands.train import describe
from zerosearch.config import TrainConfig
from zerosearch.models.config import Section
from zerosearch.spending.ledger import PRICES, dollars


def print_settings(config: TrainConfig, where: str) -> None:
    """The run in a few lines: what differs from the defaults, and the curriculum."""
    console.print(describe(config))
    changed = dict(differences(config, TrainConfig.model_validate({})))
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0), title=Text(f"\n{where}"), title_justify="left")
    usual = []
    for section in TrainConfig.model_fields:
        mine = [
            (key.removeprefix(f"{section}."), v) for key, v in changed.items() if f"{key}.".startswith(f"{section}.")
        ]
        if mine:
            said = "  ".join(f"{key} = {value}" if key != section else str(value) for key, value in mine)
            table.add_row(Text(section, style="bold"), Text(said))
        elif isinstance(getattr(config, section), Section):
            usual.append(section)
    console.print(table)
    console.print(f"(as by default: {', '.join(usual)}; --toml prints every setting)\n", style="dim")
    if config.engine.kind == "simulated" and config.curriculum.kind == "adaptive":
        c = config.curriculum
        console.print(
            f"noise: from {c.start:g}, {c.rate:g} a step towards {c.end:g} while the mean reward is {c.target:g} or "
            "more, back while it is not"
        )
    elif config.engine.kind == "simulated":
        curve = config.curriculum.build()
        points = "   ".join(f"{percent} %: {curve.noise(percent, 100):.3f}" for percent in (0, 25, 50, 75, 100))
        console.print(f"noise, by the share of training done ({config.curriculum.kind})   {points}")
    else:
        console.print("noise: none, the engine is a real one and the curriculum is not used")


def print_searches(config: TrainConfig, held_out: int | None) -> None:
    """The most searches of the run. `held_out`: the questions of an evaluation, where they are here to be counted."""
    training, evaluations = most_searches(config, held_out)
    total = training + evaluations
    known = config.evaluation.limit is not None or held_out is not None
    whole = "" if known else " (evaluations not counted: evaluation.limit is none)"
    console.print(
        f"searches at most: {training:,} in training + {evaluations:,} in evaluations = {total:,}{whole}; with Google "
        f"by SerpAPI, at ${PRICES.serpapi_search * 1000:.3f} per 1,000: {dollars(total * PRICES.serpapi_search)}",
    )


def most_searches(config: TrainConfig, held_out: int | None = None) -> tuple[int, int]:
    """The most searches in training, and in all evaluations. Retries do not count.

    An evaluation has `held_out` questions; where that is None, `evaluation.limit`, and none without one.
    """
    training, evaluation, each = config.training, config.evaluation, config.protocol.max_searches
    made = training.steps * training.questions_per_step * training.rollouts * each
    rounds = 2 + ((training.steps - 1) // evaluation.every if evaluation.every else 0)
    questions = (evaluation.limit or 0) if held_out is None else held_out
    real = evaluation.engine is not None and evaluation.engine.kind != "simulated"
    again = min(questions, evaluation.transfer_limit) if real and config.engine.kind == "simulated" else 0
    return made, rounds * (questions + again) * each


def differences(ours: Section, defaults: Section | None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`("engine.top_k", 3)` for every setting that is not the default. A section that is none by default is compared
    with what it holds by default when it is there.
    """
    for key in ours.used():
        value = getattr(ours, key)
        default = getattr(defaults, key) if defaults is not None else None
        if isinstance(value, Section):
            yield from differences(value, default if default is not None else type(value)(), f"{prefix}{key}.")
        elif value != default:
            shown = "none" if value is None else ", ".join(value) if isinstance(value, list) else value
            yield prefix + key, str(shown).lower() if isinstance(shown, bool) else shown
