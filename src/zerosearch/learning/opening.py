"""Open what learns: the policy and who samples from it, its reference, a critic, and the learner of them."""

from __future__ import annotations

import torch

from zerosearch.config import TrainConfig
from zerosearch.errors import ConfigError
from zerosearch.learning.critic import Critic
from zerosearch.learning.learner import Learner
from zerosearch.learning.parallel import Processes
from zerosearch.learning.policy import POLICY, Policy, recompute_layers
from zerosearch.learning.sharding import CopiedGenerator
from zerosearch.models.adapters import resolve_adapter
from zerosearch.models.loaded import LocalModels
from zerosearch.models.local import LocalModel
from zerosearch.models.worker import TransformersGenerator


def open_learner(
    config: TrainConfig, models: LocalModels, processes: Processes
) -> tuple[Learner, TransformersGenerator | CopiedGenerator]:
    """The learner, and the generator that samples from its policy.

    Full fine-tuning keeps float32 weights (an update of 1e-6 would round away in bfloat16), and shares them with no
    simulator: it would change with the policy. Where `model.dtype` is narrower, a copy in it samples, which is quicker
    (vLLM has one anyway). Raises `ConfigError`, `ModelError`.
    """
    name, shard = config.model.name, config.training.shard
    if not config.model.full:
        model, worker = models.get(name)
        return _learner(config, models, model, processes), TransformersGenerator(worker, POLICY)
    if shard and processes.size == 1:
        raise ConfigError(
            "training.shard = true: there is only one process; start several with "
            "accelerate launch --num_processes N -m zerosearch ..., or leave it out"
        )
    if shard or (config.model.sampler != "vllm" and models.number_format() != torch.float32):
        speaking, worker = models.get(name, alone=True)
        model = models.load(name, "float32")
        learner = _learner(config, models, model, processes)
        return learner, CopiedGenerator(TransformersGenerator(worker), speaking, model)
    model, worker = models.get(name, dtype="float32", alone=True)
    return _learner(config, models, model, processes), TransformersGenerator(worker)


def _learner(config: TrainConfig, models: LocalModels, model: LocalModel, processes: Processes) -> Learner:
    steady, context = model.steady_context, config.protocol.max_context_tokens
    if steady is not None and context > steady:
        raise ConfigError(
            f"protocol.max_context_tokens = {context}: beyond {steady} tokens {config.model.name} turns its positions "
            f"by the text's length, and the trainer would not see what was sampled; use at most {steady}"
        )
    policy = _policy(config, models, model)
    critic = _critic(config, models, model) if config.algorithm.name == "ppo" else None
    if config.model.gradient_checkpointing:
        for trained in {id(part.model): part.model for part in (policy, critic) if part is not None}.values():
            recompute_layers(trained, full=config.model.full)
    if config.training.shard:
        policy.shard(processes)
    return Learner(policy, critic, config, processes)


def _policy(config: TrainConfig, models: LocalModels, model: LocalModel) -> Policy:
    if not config.model.full:
        source = resolve_adapter(config.model.adapter) if config.model.adapter else None
        lora = config.model.lora
        assert lora is not None  # the config's own check
        return Policy.lora(model, source, rank=lora.rank, alpha=lora.alpha)
    pulled = config.algorithm.kl != "none" and config.algorithm.kl_coef > 0
    return Policy.full_weights(model, models.load(config.model.name) if pulled else None)


def _critic(config: TrainConfig, models: LocalModels, model: LocalModel) -> Critic:
    if config.model.full:
        return Critic.full_weights(models.load(config.model.name, "float32"))
    assert config.model.lora is not None
    return Critic.lora(model, rank=config.model.lora.rank, alpha=config.model.lora.alpha)
