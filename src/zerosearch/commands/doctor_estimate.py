"""`zerosearch doctor --model`, and `--on verl --gpus N`: estimate a run here or on a cluster. No weights are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from zerosearch.commands.screen import console, table
from zerosearch.config import TrainConfig
from zerosearch.config_file import as_overrides, load_config
from zerosearch.errors import ConfigError
from zerosearch.learning.cluster_estimate import MACHINE, Ask, best
from zerosearch.learning.estimate import Plan, memory, plan_of, simulates_with, step_seconds, work_of
from zerosearch.models.cards import CARDS, GIB, Card, card_named
from zerosearch.models.devices import pick_device
from zerosearch.models.shapes import Shape, config_named, shape_of
from zerosearch.process import runtime
from zerosearch.spending.ledger import counted

_MODELS = {"3b": "qwen2.5-3b", "7b": "qwen2.5-7b", "14b": "qwen2.5-14b", "32b": "qwen2.5-32b", "1.5b": "qwen2.5-1.5b"}


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
    place, room, card = machine(config.model.device, gpu)
    shape = _shape(config.model.name)
    other = simulates_with(config)
    writer = None if other is None else shape if other == shape.name else _shape(other)
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
        _show_seconds(config, shape, plan, card)
    console.print("an estimate, calibrated by one measured shape (docs/performance.md); zerosearch bench measures")
    return fits


def _show_seconds(config: TrainConfig, shape: Shape, plan: Plan, card: Card) -> None:
    work, steps = work_of(config), config.training.steps
    rollouts, update = step_seconds(shape, plan, work, card)
    console.print(
        f"seconds a step, about: rollouts {rollouts:.1f}, update {update:.1f} ({counted(work.questions, 'question')} x "
        f"{counted(work.rollouts, 'episode')}, turns of {work.turn} tokens, pages of {work.page})"
    )
    hours = steps * (rollouts + update) / 3600
    console.print(f"{counted(steps, 'such step')}, about: {hours:.1f} hours, evaluations not counted")
    if config.engine.kind != "simulated" or config.engine.simulated.base_url is not None:
        console.print("  without the time that pages take: they come from elsewhere")


def machine(device: str, gpu: str | None) -> tuple[str, float | None, Card | None]:
    """Where a run would be: the place's name, its bytes of memory if known, and its rates if known."""
    if gpu is not None:
        card = _card(gpu)
        return card.name, card.gib * GIB, card
    place = pick_device(device)
    if place.type == "cuda":
        name = torch.cuda.get_device_name(place)
        return name, float(torch.cuda.mem_get_info(place)[1]), card_named(name)
    total, free = runtime.memory()
    return "CPU", float(total or 0) if free is None and total is not None else free, None


def _card(name: str) -> Card:
    card = card_named(name)
    if card is None:
        raise ConfigError(f"--gpu {name}: known are {', '.join(card.name for card in CARDS)}")
    return card


def _shape(model: str) -> Shape:
    return shape_of(config_named(model), model)


def remedy(shape: Shape, plan: Plan, room: float) -> str:
    """The settings with which it would fit, the cheapest first."""
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


def show_cluster(config: TrainConfig, on: str | None, gpus: int | None, gpu: str | None) -> bool:
    """Print how `gpus` GPUs are divided, and what a step takes. Returns whether there is a division that fits.

    Raises `ConfigError` for another trainer than verl or a GPU that is not known, `ModelError` for a model whose
    config.json cannot be had.
    """
    if on not in (None, "verl") or gpus is None:
        raise ConfigError("an estimate for a cluster: --on verl --gpus 32")
    card, shape = _card(gpu or "H100"), _shape(config.model.name)
    writer = _shape(_known(config.engine.simulated.model)) if config.engine.kind == "simulated" else None
    kl = config.algorithm.kl != "none" and config.algorithm.kl_coef > 0
    rank = config.model.lora.rank if config.model.lora else 0
    work, tokens, again = work_of(config), config.training.micro_batch_tokens, config.model.gradient_checkpointing
    found = best(Ask(shape, writer, work, card, gpus, config.model.full, rank, kl, tokens, again))
    if found is None:
        less = "" if again else ", or model.gradient_checkpointing = true"
        told = f"{shape.name} does not fit on {gpus} {card.name} beside its simulator: take more{less}"
        console.print(told, style="red", soft_wrap=True)
        return False
    shown = table(f"{shape.name} on {gpus} {card.name}, estimated", "", "")
    shown.add_row("GPUs of the policy", str(found.policy))
    shown.add_row("  of one vLLM engine (tensor_model_parallel_size)", str(found.tensor_parallel))
    servers = ""
    if writer is not None:
        replicas = found.simulator // found.simulator_parallel
        if config.engine.simulated.base_url is None:  # the run has to start them
            servers = f" --simulators {replicas}x{found.simulator_parallel}"
        shown.add_row(f"GPUs of the simulator, {writer.name}", f"{found.simulator} ({counted(replicas, 'server')})")
    shown.add_row("seconds of rollouts", f"{found.rollouts:.1f}")
    shown.add_row("  more waiting for pages", f"{found.pages:.1f}")
    shown.add_row("seconds of the update", f"{found.update:.1f}")
    shown.add_row("episodes a second", f"{work.questions * work.rollouts / found.seconds:.0f}")
    shown.add_row("GiB of a policy GPU in the update", f"{found.gib:.0f} of {card.gib:.0f}")
    console.print(shown)
    console.print(
        "by rates of one GPU and our own sampler; without NCCL, vLLM's own speed, its sleep, weights sent to it"
    )
    divided = flags(found.policy, found.tensor_parallel) + servers
    console.print(f"zerosearch train CONFIG --on verl{divided}")
    return True


def flags(gpus: int, parallel: int) -> str:
    """The settings of verl that say so: whole machines of eight GPUs, or a part of one."""
    nodes, each = (gpus // MACHINE, MACHINE) if gpus > MACHINE else (1, gpus)
    told = f" --verl trainer.nnodes={nodes} --verl trainer.n_gpus_per_node={each}"
    return told + f" --verl actor_rollout_ref.rollout.tensor_model_parallel_size={parallel}"


def _known(model: str) -> str:
    """A simulator by the name that its server knows: a shape where the name tells its size, else that very name."""
    size = next((size for size in _MODELS if f"-{size}-" in f"-{model.lower()}-"), None)
    return model if size is None else _MODELS[size]
