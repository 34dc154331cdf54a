"""`zerosearch doctor --model`: estimate memory and time of a run. No weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from zerosearch.commands.screen import console, table
from zerosearch.config import TrainConfig
from zerosearch.config_file import as_overrides, load_config
from zerosearch.errors import ConfigError
from zerosearch.models.cards import GIB
from zerosearch.process.runtime import memory as machine_memory
from zerosearch.process.runtime import quiet_libraries

if TYPE_CHECKING:
    from zerosearch.learning.estimate import Plan
    from zerosearch.models.cards import Card
    from zerosearch.models.shapes import Shape


def settings(model: str | None, config_file: Path | None, set_: Sequence[str]) -> TrainConfig:
    """The configuration, its policy exchanged for `model`; a simulator on the same weights goes with it."""
    config = load_config(config_file, set_)
    if model is None:
        return config
    changes: dict[str, str] = {"model.name": model}
    if config.engine.simulated.base_url is None and config.engine.simulated.model == config.model.name:
        changes["engine.simulated.model"] = model
    return load_config(config_file, [*set_, *as_overrides(changes)])


def show_estimate(config: TrainConfig, gpu: str | None) -> bool:
    """Print what a run of `config` would need on the GPU named `gpu`, or here. Returns whether it fits.

    Raises `ConfigError` for a GPU that is not known, `ModelError` for a model whose config.json cannot be had.
    """
    quiet_libraries()
    from zerosearch.learning.estimate import memory, plan_of, simulates_with, step_seconds, work_of
    from zerosearch.models.shapes import config_named, shape_of

    place, room, card = machine(config.model.device, gpu)
    shape = shape_of(config_named(config.model.name), config.model.name)
    other = simulates_with(config)
    writer = None if other is None else shape if other == shape.name else shape_of(config_named(other), other)
    plan = plan_of(config, gpu=place != "CPU", parameters=shape.parameters, simulator=writer)
    parts = memory(shape, plan, room)
    total = sum(parts.values())
    what = "all weights" if plan.full else f"LoRA rank {plan.rank}"
    console.print(f"{shape.name}: {shape.parameters / 1e6:,.0f} million weights, {what}, on {place}")
    shown = table("", "memory, estimated", "GiB")
    for name, size in parts.items():
        shown.add_row(name, f"{size / GIB:.2f}")
    shown.add_row("all", f"{total / GIB:.1f}")
    console.print(shown)
    if config.training.shard:
        console.print("as of one process: training.shard divides weights, gradients and optimizer by their number")
    fits = room is None or total <= room
    if room is None:
        console.print("how much memory there is cannot be read on this system")
    elif fits:
        console.print(f"it fits: {room / GIB:.1f} GiB are there")
    else:
        console.print(f"it does not fit: {room / GIB:.1f} GiB are there. {remedy(shape, plan, room)}", style="red")
    if card is None:
        console.print(f"seconds a step: not known for {place}; measure them: zerosearch bench")
    else:
        work = work_of(config)
        rollouts, update = step_seconds(shape, plan, work, card)
        console.print(
            f"seconds a step, about: rollouts {rollouts:.1f}, update {update:.1f} ({work.questions} questions x "
            f"{work.rollouts} episodes, turns of {work.turn} tokens, pages of {work.page})"
        )
        steps = config.training.steps
        console.print(
            f"{steps} such steps, about: {steps * (rollouts + update) / 3600:.1f} hours, evaluations not counted"
        )
        if config.engine.kind != "simulated" or config.engine.simulated.base_url is not None:
            console.print("  without the time that pages take: they come from elsewhere")
    console.print("an estimate, calibrated by one measured shape (docs/performance.md); zerosearch bench measures")
    return fits


def machine(device: str, gpu: str | None) -> tuple[str, float | None, Card | None]:
    """Where a run would be: the place's name, its bytes of memory if known, and its rates if known."""
    from zerosearch.models.cards import CARDS, card_named
    from zerosearch.models.devices import pick_device

    if gpu is not None:
        card = card_named(gpu)
        if card is None:
            raise ConfigError(f"--gpu {gpu}: known are {', '.join(card.name for card in CARDS)}")
        return card.name, card.gib * GIB, card
    import torch

    place = pick_device(device)
    if place.type == "cuda":
        name = torch.cuda.get_device_name(place)
        return name, float(torch.cuda.mem_get_info(place)[1]), card_named(name)
    total, free = machine_memory()
    return "CPU", float(total or 0) if free is None and total is not None else free, None


def remedy(shape: Shape, plan: Plan, room: float) -> str:
    """The settings with which it would fit, the cheapest first."""
    from zerosearch.learning.estimate import memory

    for smaller in _smaller(plan):
        if sum(memory(shape, smaller, room).values()) <= room:
            changes = [f"--set training.micro_batch_tokens={smaller.micro_batch_tokens}"]
            changes += ["--set model.gradient_checkpointing=true"] if smaller.checkpointing > plan.checkpointing else []
            changes += [f"--set training.max_batch_rows={smaller.rows}"] if smaller.rows < plan.rows else []
            return f"It would with {' '.join(changes)}"
    return "No size of micro-batches helps: take a smaller model, an adapter, a simulator behind a URL, or another GPU"


def _smaller(plan: Plan) -> Iterator[Plan]:
    for rows in (plan.rows, min(plan.rows, 64)):
        for checkpointing in dict.fromkeys((plan.checkpointing, True)):
            for tokens in (plan.micro_batch_tokens, 16384, 8192, 4096):
                if tokens <= plan.micro_batch_tokens:
                    yield replace(plan, rows=rows, checkpointing=checkpointing, micro_batch_tokens=tokens)
