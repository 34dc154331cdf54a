"""Each way of training takes two steps on this machine: a GPU where there is one, with recorded steps, else a CPU.

What a CPU cannot show is which operations CUDA refuses while a step is recorded. So `make test-gpu` runs these tests on
a GPU. Models are random and episodes are invented, as `zerosearch bench` has them.
"""

from __future__ import annotations

import math

import pytest
import torch

from zerosearch.config_file import load_config
from zerosearch.learning.bench import measure
from zerosearch.learning.estimate import work_of

ON_GPU = torch.cuda.is_available()
FULL = ("model.full=true", "model.lora=none")
WAYS = {
    "an adapter": (),
    "all weights": FULL,
    "with a critic": ("algorithm.name=ppo",),
    "all weights, with a critic": (*FULL, "algorithm.name=ppo"),
    "KL in the loss": ("algorithm.kl=loss",),
    "KL in the reward": ("algorithm.kl=reward", "algorithm.kl_estimator=k1"),
    "an entropy bonus": ("algorithm.entropy_coef=0.01",),
    "several updates a batch": ("algorithm.updates_per_batch=2",),
    "layers recomputed": ("model.gradient_checkpointing=true",),
    "all weights, layers recomputed": (*FULL, "model.gradient_checkpointing=true"),
    "tf32": ("model.dtype=float32", "model.matmul_precision=high"),
    "the plain sampler": ("model.sampler=plain",),
    "bfloat16": ("model.dtype=bfloat16",),
    "bfloat16, all weights": (*FULL, "model.dtype=bfloat16"),
    "bfloat16, layers recomputed": ("model.dtype=bfloat16", "model.gradient_checkpointing=true"),
} | ({"float16": ("model.dtype=float16",)} if ON_GPU else {})


@pytest.mark.parametrize("way", WAYS)
def test_a_way_of_training_learns_from_what_its_sampler_sampled(way: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING")
    sizes = ("training.questions_per_step=3", "training.rollouts=2", "protocol.max_searches=1")
    config = load_config("demo", ["model.adapter=none", "algorithm.kl=none", *sizes, *WAYS[way]])
    shape = "smollm2-135m" if ON_GPU else "tiny"
    measured = measure(shape, config, work_of(config, 20), repeats=2)
    assert measured.update_tokens[1] > 100
    rounded = ON_GPU or (any(word.startswith("model.dtype") for word in WAYS[way]) and way != "tf32")
    assert all(math.isfinite(gap) and gap < (0.1 if rounded else 0.01) for gap in measured.sampler_gaps)
    narrow = "bfloat16" in way or way == "float16"
    assert (measured.read_bytes < 2.5 * measured.parameters) == narrow  # 2 or 4 bytes a weight, as the setting has it
    assert not caplog.messages  # such as: decoding without CUDA graphs, which is slow
