"""`zerosearch doctor --on verl --gpus N`: estimate a run on a cluster. Nothing is loaded."""

from __future__ import annotations

from zerosearch.commands.screen import console, table
from zerosearch.config import TrainConfig
from zerosearch.errors import ConfigError
from zerosearch.process.runtime import quiet_libraries

_MODELS = {"3b": "qwen2.5-3b", "7b": "qwen2.5-7b", "14b": "qwen2.5-14b", "32b": "qwen2.5-32b", "1.5b": "qwen2.5-1.5b"}


def show_cluster(config: TrainConfig, on: str | None, gpus: int | None, gpu: str | None) -> bool:
    """Print how `gpus` GPUs are divided, and what a step takes. Returns whether there is a division that fits.

    Raises `ConfigError` for another trainer than verl or a GPU that is not known, `ModelError` for a model whose
    config.json cannot be had.
    """
    if on not in (None, "verl") or gpus is None:
        raise ConfigError("an estimate for a cluster: --on verl --gpus 32")
    quiet_libraries()
    from zerosearch.learning.cluster_estimate import Ask, best
    from zerosearch.learning.estimate import work_of
    from zerosearch.models.cards import CARDS, card_named
    from zerosearch.models.shapes import config_named, shape_of

    card = card_named(gpu or "H100")
    if card is None:
        raise ConfigError(f"--gpu {gpu}: known are {', '.join(card.name for card in CARDS)}")
    shape = shape_of(config_named(config.model.name), config.model.name)
    simulated = config.engine.kind == "simulated"
    name = _known(config.engine.simulated.model) if simulated else None
    writer = shape_of(config_named(name), name) if name is not None else None
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
    if writer is not None:
        replicas = found.simulator // found.simulator_parallel
        shown.add_row(f"GPUs of the simulator, {writer.name}", f"{found.simulator} ({replicas} servers)")
    shown.add_row("seconds of rollouts", f"{found.rollouts:.1f}")
    shown.add_row("  more waiting for pages", f"{found.pages:.1f}")
    shown.add_row("seconds of the update", f"{found.update:.1f}")
    shown.add_row("episodes a second", f"{work.questions * work.rollouts / found.seconds:.0f}")
    shown.add_row("GiB of a policy GPU in the update", f"{found.gib:.0f} of {card.gib:.0f}")
    console.print(shown)
    console.print(
        "by rates of one GPU and our own sampler; without NCCL, vLLM's own speed, its sleep, weights sent to it"
    )
    console.print(f"zerosearch train CONFIG --on verl{flags(found.policy, found.tensor_parallel)}", markup=False)
    return True


def flags(gpus: int, parallel: int) -> str:
    """The settings of verl that say so: whole machines of eight GPUs, or a part of one."""
    from zerosearch.learning.cluster_estimate import MACHINE

    nodes, each = (gpus // MACHINE, MACHINE) if gpus > MACHINE else (1, gpus)
    told = f" --verl trainer.nnodes={nodes} --verl trainer.n_gpus_per_node={each}"
    return told + f" --verl actor_rollout_ref.rollout.tensor_model_parallel_size={parallel}"


def _known(model: str) -> str:
    """A simulator by the name that its server knows: a shape where the name tells its size, else that very name."""
    size = next((size for size in _MODELS if f"-{size}-" in f"-{model.lower()}-"), None)
    return model if size is None else _MODELS[size]
