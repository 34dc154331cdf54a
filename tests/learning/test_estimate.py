"""The estimate of a run's memory: its counts are those of real models and real forward passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from zerosearch.config_file import load_config
from zerosearch.learning.bench import random_model
from zerosearch.learning.estimate import activations, memory, plan_of, simulates_with, step_seconds, work_of
from zerosearch.learning.policy import POLICY, Policy, training_precision
from zerosearch.models.cards import GIB, card_named
from zerosearch.models.merged import MergedAdapters
from zerosearch.models.shapes import SHAPES, Shape, config_named, shape_of

LORA = ("name=test", "model.lora.rank=16", "model.lora.alpha=32", "algorithm.kl=none")


def shape(name: str) -> Shape:
    return shape_of(config_named(name), name)


def plan(*changes: str, gpu: bool = True) -> Any:
    return plan_of(load_config(None, [*LORA, *changes]), gpu=gpu)


def test_weights_adapter_and_merged_copy_are_counted_as_they_are_made() -> None:
    model = random_model("tiny", torch.device("cpu"), torch.float32)
    whole = sum(p.numel() for p in model.base.parameters())
    policy = Policy.lora(model, None, rank=16, alpha=32.0)
    copied = MergedAdapters(model).get(POLICY)
    own = {p.data_ptr() for p in model.base.parameters()}
    added = sum(p.numel() for p in copied.parameters() if p.data_ptr() not in own)
    parts = memory(shape("tiny"), replace(plan(gpu=False), merged=True))
    assert parts["weights"] == 4 * whole
    assert parts["merged copy for the sampler"] == 4 * added
    trained = sum(p.numel() for p in policy.parameters().values())
    assert parts["adapter, gradients and optimizer"] == 16 * trained  # weight, gradient and two moments in float32


@pytest.mark.parametrize("name", ["tiny", "smollm2-135m"])
def test_activations_are_what_a_forward_pass_keeps(name: str) -> None:
    """Without compiled norms, which a CPU has not, a forward pass keeps more: at most another half."""
    model = random_model(name, torch.device("cpu"), torch.bfloat16)
    policy = Policy.lora(model, None, rank=2, alpha=4.0)
    policy.train_mode()
    weights = {p.untyped_storage().data_ptr() for p in model.base.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    alive: list[torch.Tensor] = []
    with training_precision(model, full=False), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model.base.get_decoder()(input_ids=torch.arange(128).unsqueeze(0) % 500, use_cache=False)
    wanted = activations(shape(name), plan("training.micro_batch_tokens=128"))
    assert wanted <= sum(kept.values()) <= 1.6 * wanted


def test_the_shape_that_was_measured_is_estimated_to_a_tenth() -> None:
    """One H200, Qwen2.5-1.5B, LoRA rank 16: 48.3 GiB in an update without a sampler, 21 GiB in rollouts."""
    parts = {name: size / GIB for name, size in memory(shape("qwen2.5-1.5b"), plan(), 139 * GIB).items()}
    update = sum(parts.values()) - parts["cache of the sampler"] - parts["recorded steps"]
    assert update == pytest.approx(48.3, rel=0.1)
    rollouts = sum(parts.values()) - parts["activations"] - parts["logits"]
    assert rollouts == pytest.approx(21, rel=0.1)
    card = card_named("NVIDIA H200")
    assert card is not None
    work = work_of(load_config(None, [*LORA, "protocol.max_searches=3"]))
    rollouts, update = step_seconds(shape("qwen2.5-1.5b"), plan(), work, card)
    assert 1 < rollouts < 5  # 4.7 with half as many tokens more
    assert update == pytest.approx(2.7, rel=0.2)


def test_checkpointing_smaller_micro_batches_and_a_smaller_card_take_less() -> None:
    big, usual = shape("qwen2.5-7b"), plan()
    whole = sum(memory(big, usual).values())
    assert activations(big, replace(usual, checkpointing=True)) < activations(big, usual) / 10
    assert sum(memory(big, replace(usual, micro_batch_tokens=4096)).values()) < whole
    assert memory(big, usual, 30 * GIB)["cache of the sampler"] < memory(big, usual)["cache of the sampler"]


def test_full_fine_tuning_keeps_sixteen_bytes_a_weight_and_more() -> None:
    full = plan("model.full=true", "model.lora=none", "algorithm.kl=loss")
    parts, count = memory(shape("qwen2.5-3b"), full), shape("qwen2.5-3b").parameters
    assert parts["weights"] + parts["gradients and optimizer"] == 16 * count
    assert parts["reference"] == parts["copy for the sampler"] == 2 * count
    assert "merged copy for the sampler" not in parts


def test_a_simulator_costs_memory_only_where_it_is_a_second_model_here() -> None:
    same = load_config(None, [*LORA, "model.name=org/a", "engine.simulated.model=org/a"])
    other = load_config(None, [*LORA, "model.name=org/a", "engine.simulated.model=org/b"])
    served = load_config(
        None, [*LORA, "engine.simulated.model=org/b", "engine.simulated.base_url=http://localhost:1/v1"]
    )
    assert [simulates_with(config) for config in (same, other, served)] == [None, "org/b", None]
    second = shape("qwen2.5-0.5b")
    parts = memory(shape("qwen2.5-1.5b"), plan_of(other, gpu=True, simulator=second))
    assert parts["simulator's weights"] == 2 * second.parameters
    assert parts["cache of the simulator"] > 0


def test_names_of_shapes_hold_as_many_weights_as_they_say() -> None:
    for name in SHAPES.keys() - {"tiny"}:
        said = name.rpartition("-")[2]
        millions = float(said[:-1]) * (1000 if said.endswith("b") else 1)
        assert shape(name).parameters / 1e6 == pytest.approx(millions, rel=0.1)
