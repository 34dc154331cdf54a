"""`zerosearch bench`: what a training step costs on this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from zerosearch.commands.screen import console, json_text
from zerosearch.config_file import load_config
from zerosearch.process.runtime import prepare, quiet_libraries


def bench(
    config_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]", help="Whose sizes to measure; none: the demo's on a CPU, the paper's on a GPU."
        ),
    ] = None,
    shape: Annotated[
        str | None, typer.Option(metavar="NAME", help="smollm2-135m (a CPU's default), qwen2.5-1.5b (a GPU's), ...")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Steps to measure, and one before.")] = 3,
    page_tokens: Annotated[
        int | None, typer.Option(min=4, metavar="N", help="Of a simulated page; none: 185, on a CPU 40.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """What a training step costs on this machine: rollouts with a simulator on the same weights, and the update.

    Weights are random, of a known shape, and episodes are made up: nothing is downloaded, and nothing is written. What
    a step costs does not depend on which weights and tokens they are.
    """
    prepare()
    quiet_libraries()
    from zerosearch.learning.bench import Work, measure
    from zerosearch.models.devices import pick_device

    config = load_config(config_file, set_ or ())
    cpu = pick_device(config.model.device).type == "cpu"
    if config_file is None and cpu:
        config = load_config("demo", set_ or ())
    training = config.training
    work = Work(
        training.questions_per_step,
        training.rollouts,
        config.protocol.max_searches,
        page=page_tokens or (40 if cpu else 185),
    )
    chosen = shape or ("smollm2-135m" if cpu else "qwen2.5-1.5b")
    found = measure(chosen, config, work, repeats=repeats + 1, say=lambda line: console.print(line, style="dim"))
    if as_json:
        print(json_text(asdict(found) | {"update_peak_share": found.peak_share}, indent=2))
        return
    console.print(
        f"{found.shape} ({found.parameters / 1e6:,.0f} million random weights, {found.dtype}) on {found.device}: "
        f"{work.questions} questions x {work.rollouts} episodes, at most {work.max_searches} searches"
    )
    table = Table("", "seconds", "first", "tokens", "tokens a second")
    sampled = [a + b for a, b in zip(found.policy_tokens, found.simulator_tokens, strict=True)]
    for name, seconds, tokens in (
        ("rollouts", found.rollout_seconds, sampled),
        ("update", found.update_seconds, found.update_tokens),
    ):
        middle, many = found.middle(seconds), found.middle(tokens)
        table.add_row(name, f"{middle:.2f}", f"{seconds[0]:.2f}", f"{many:,.0f}", f"{many / middle:,.0f}")
    steps = [a + b for a, b in zip(found.rollout_seconds, found.update_seconds, strict=True)]
    table.add_row("step", f"{found.middle(steps):.2f}", f"{steps[0]:.2f}", "", "")
    console.print(table)
    console.print(f"medians of {repeats}; the first step holds what is compiled and recorded once")
    if found.peak_share is not None:
        console.print(f"the update runs at {found.peak_share:.0%} of the chip's rate (6 operations a weight and token)")
    if found.peak_gib is not None:
        console.print(f"memory at its highest: {found.peak_gib:.1f} GiB")
