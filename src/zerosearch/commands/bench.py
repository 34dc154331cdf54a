"""`zerosearch bench`: what a training step costs on this machine."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from zerosearch.commands.screen import console, json_text, table
from zerosearch.config import TrainConfig
from zerosearch.config_file import load_config
from zerosearch.errors import ConfigError, DataError
from zerosearch.files.folders import check_file
from zerosearch.files.json_rows import parse_json
from zerosearch.files.jsonl import write_json
from zerosearch.models.samplers import SamplerName
from zerosearch.process.runtime import prepare, quiet_libraries
from zerosearch.spending.ledger import counted

if TYPE_CHECKING:
    from zerosearch.learning.bench import Measured
    from zerosearch.models.phases import Spent

log = logging.getLogger(__name__)


def bench(
    config_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[CONFIG]", help="The sizes to measure. Default: the demo's on a CPU, the paper's on a GPU."
        ),
    ] = None,
    shape: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Shape of the model: smollm2-135m (default on a CPU), qwen2.5-1.5b (default on a GPU), ...",
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of steps to measure, after one to warm up.")
    ] = 3,
    page_tokens: Annotated[
        int | None, typer.Option(min=4, metavar="N", help="Tokens of a simulated page. Default: 185, on a CPU 40.")
    ] = None,
    samplers: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Samplers to measure, one after the other: native,vllm,plain.")
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show how the time of a step is spent.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the result as JSON.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")] = None,
) -> None:
    """Measure what a training step costs on this machine: rollouts with a simulator on the same weights, and the
    update.

    Weights are random and episodes are invented, so nothing is downloaded. The cost of a step depends only on the
    shape of the model and the number of tokens.

    The table also shows the limit of the GPU by its maker's figures: rollouts read the weights once for each token
    of the longest episode; the update takes 6 operations for each weight and token. --profile shows how the time is
    spent, by the clocks of host and GPU.
    """
    prepare()
    quiet_libraries()
    if out is not None:
        check_file(out, _is_bench)
    from zerosearch.learning.bench import measure
    from zerosearch.learning.estimate import work_of
    from zerosearch.learning.parallel import Processes
    from zerosearch.models.devices import pick_device

    processes = Processes.current()
    console.quiet = not processes.first
    if processes.missed:
        log.warning(processes.missed)
    config = load_config(config_file, set_ or ())
    cpu = pick_device(config.model.device).type == "cpu"
    if config_file is None and cpu:
        config = load_config("demo", set_ or ())
    work = work_of(config, page_tokens or (40 if cpu else 185))
    chosen = shape or ("smollm2-135m" if cpu else "qwen2.5-1.5b")
    said = partial(console.print, style="dim")
    changed = [with_sampler(config, name.strip()) for name in samplers.split(",")] if samplers else [config]
    rows = []
    for one in changed:
        found = measure(chosen, one, work, repeats=repeats + 1, profile=profile, say=said)
        limits = {"rollout_limit": found.rollout_limit, "update_limit": found.update_limit}
        rows.append(asdict(found) | limits | {"update_peak_share": found.peak_share})
        if not as_json:
            _show(found, repeats)
    processes.leave()
    held = rows if samplers else rows[0]
    if out is not None and processes.first:
        write_json(out, held)
    if as_json and processes.first:
        print(json_text(held, indent=2))


def _is_bench(path: Path) -> bool:
    """Whether a file is what --out wrote: a measurement, or a list of them with --samplers."""
    try:
        held = parse_json(path.read_bytes(), path)
    except (DataError, OSError):
        return False
    rows = held if isinstance(held, list) else [held]
    return bool(rows) and all(isinstance(row, dict) and "rollout_limit" in row for row in rows)


def with_sampler(config: TrainConfig, name: str) -> TrainConfig:
    """Raises `ConfigError` for a sampler that does not exist."""
    if name not in get_args(SamplerName):
        raise ConfigError(f"--samplers {name}: known are {', '.join(get_args(SamplerName))}")
    return config.model_copy(update={"model": config.model.model_copy(update={"sampler": name})})


def _show(found: Measured, repeats: int) -> None:
    work = found.work
    gpus = found.device if found.processes == 1 else f"{found.processes} x {found.device}"
    played = f"{counted(work.questions, 'question')} x {counted(work.rollouts, 'episode')}"
    console.print(
        f"{found.shape} ({found.parameters / 1e6:,.0f} million random weights, {found.dtype}) on {gpus}: {played}, at "
        f"most {counted(work.max_searches, 'search', 'searches')}, sampler {found.sampler}, trained: {found.trained}"
    )
    shown = table("", "", "seconds", "first", "limit", "tokens", "tokens a second")
    sampled = [a + b for a, b in zip(found.policy_tokens, found.simulator_tokens, strict=True)]
    for name, seconds, limit, tokens in (
        ("rollouts", found.rollout_seconds, found.rollout_limit, sampled),
        ("update", found.update_seconds, found.update_limit, found.update_tokens),
    ):
        middle, many = found.middle(seconds), found.middle(tokens)
        bound = "-" if limit is None else f"{limit:.2f}"
        shown.add_row(name, f"{middle:.2f}", f"{seconds[0]:.2f}", bound, f"{many:,.0f}", f"{many / middle:,.0f}")
    steps = [a + b for a, b in zip(found.rollout_seconds, found.update_seconds, strict=True)]
    shown.add_row("step", f"{found.middle(steps):.2f}", f"{steps[0]:.2f}", "", "", "")
    console.print(shown)
    console.print(f"medians of {repeats}; the first step holds what is compiled and recorded once")
    if (card := found.card) is not None:
        console.print(
            f"limit: {found.read_bytes / 1e9:.2f} GB of weights read at {card.bandwidth / 1e12:.2f} TB/s for each of "
            f"the {found.middle(found.chains):,.0f} tokens of the longest episode; 6 operations a weight and token at "
            f"{card.rate / 1e12:.0f} TFLOP/s, of which the update reaches {found.peak_share:.0%}"
        )
    gaps = found.sampler_gaps
    console.print(f"sampler gap: {gaps[0]:.4f} nats a token in the first step, {gaps[-1]:.4f} in the last")
    if found.peak_gib is not None:
        estimate = found.estimated_gib
        told = "" if estimate is None else f"; estimated by zerosearch doctor: {estimate:.1f} GiB"
        console.print(
            f"memory at its highest: {found.peak_gib:.1f} GiB in tensors, {found.held_gib:.1f} GiB held{told}"
        )
    _show_phases("where the rollouts' time goes", found.phases(found.rollout_phases))
    _show_phases("where the update's time goes", found.phases(found.update_phases))


def _show_phases(title: str, phases: dict[str, Spent]) -> None:
    if not phases:
        return
    on_gpu = any(spent.gpu is not None for spent in phases.values())
    wall = sum((spent.gpu or 0.0) if on_gpu else spent.host for spent in phases.values())
    shown = table(title, "", "times", *(("GPU, seconds", "share") if on_gpu else ()), "host, seconds", "share")
    for name, spent in phases.items():
        times = f"{spent.times:,}" if spent.times else ""
        of_gpu = ("", "") if spent.gpu is None else (f"{spent.gpu:.3f}", f"{spent.gpu / wall:.0%}")
        of_host = ("", "") if name == "idle" else (f"{spent.host:.3f}", f"{spent.host / wall:.0%}")
        shown.add_row(name, times, *(of_gpu if on_gpu else ()), *of_host)
    console.print(shown)
    if on_gpu:
        console.print("both sides add up to the whole; sampling on a GPU is part of decode", style="dim")
