"""Translate a configuration into settings of verl 0.9.1, and name what verl cannot do.

    settings, left_out = translate(config, Places(Path("runs/demo"), "/models/qwen", 1000))

What changes what is learned and has no counterpart is refused by name. What only watches a run, or only makes it
faster, is left out and told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig
from zerosearch.errors import ConfigError
from zerosearch.spending.ledger import counted

Settings = dict[str, Any]
"""verl's settings by their dotted names."""

AGENT = "zerosearch"
GRPO_BY_BATCH = "zerosearch_grpo_batch"
"""Our own estimator, registered with verl (`estimators.py`)."""
_NEVER = 1e9  # of a clip that verl cannot leave out
_MOST_WORKERS = 8
_HOTTEST = 2.0  # temperature that vLLM takes
_KL = {"k1": "k1", "k2": "k2", "k3": "low_var_kl"}
_FSDP_DTYPES = {"float16": "fp16", "float32": "fp32"}


@dataclass(frozen=True)
class Places:
    """What a translation needs besides the configuration: the run's folder, the policy's folder or hub id, the number
    of training questions, whether the `flash_attn` package is there, and whether verl's fused head fits the policy."""

    run: Path
    model: str
    questions: int
    flash_attention: bool = False
    fused_head: bool = False

    @property
    def verl(self) -> Path:
        return self.run / "verl"


def translate(config: TrainConfig, places: Places) -> tuple[Settings, list[str]]:
    """verl's settings for `config`, and a line for each setting that has no meaning there and changes no result.

    Raises `ConfigError` that names every setting that verl has no counterpart of.
    """
    refused = refusals(config, places.questions)
    if refused:
        raise ConfigError("this configuration cannot be trained on verl: " + "; ".join(refused))
    settings = {
        **_algorithm(config),
        **_kl(config),
        **_batches(config),
        **_model(config, places),
        **_rollout(config, places),
        **_run(config, places),
    }
    if config.algorithm.name == "ppo":
        settings |= _critic(config, places)
    return settings, left_out(config)


def refusals(config: TrainConfig, questions: int) -> list[str]:
    """What stands in the way, a phrase each, beginning with the setting's name."""
    model, training, engine = config.model, config.training, config.engine
    found = [_no_estimator(config)]
    if config.algorithm.ratio_level == "sequence" and config.algorithm.aggregation != "seq-mean-token-mean":
        found.append("algorithm.ratio_level = 'sequence' without aggregation = 'seq-mean-token-mean' (verl's GSPO)")
    if model.base_url is not None:
        found.append("model.base_url (verl trains weights, no server)")
    if model.device not in ("auto", "cuda"):
        found.append(f"model.device = {model.device!r} (verl needs GPUs: auto or cuda)")
    if model.adapter is not None and config.algorithm.kl != "none" and config.algorithm.kl_coef > 0:
        found.append(
            "model.adapter with algorithm.kl (verl's reference would be the bare model, not the adapter: set "
            "algorithm.kl = 'none', or merge the adapter into model.name)"
        )
    if config.curriculum.kind == "adaptive" and engine.kind == "simulated":
        found.append("curriculum.kind = 'adaptive' (an episode on verl does not know the rewards of earlier steps)")
    for role, searched in (("engine", engine), ("evaluation.engine", config.evaluation.engine)):
        if searched is not None and searched.kind == "simulated" and searched.simulated.base_url is None:
            found.append(f"{role}.simulated without base_url (a local simulator: serve it, docs/scale.md)")
    if engine.budget_usd is not None or engine.budget_searches is not None:
        found.append("engine.budget_usd and budget_searches (workers search apart, nobody counts for all)")
    if training.temperature > _HOTTEST:
        found.append(f"training.temperature = {training.temperature:g} (vLLM refuses more than {_HOTTEST:g})")
    if training.max_minutes is not None:
        found.append("training.max_minutes (stop verl itself; the same command resumes)")
    if training.questions_per_step % config.algorithm.updates_per_batch:
        found.append("algorithm.updates_per_batch does not divide training.questions_per_step (verl cuts at questions)")
    if questions < training.questions_per_step:
        found.append(f"training.questions_per_step is larger than the {counted(questions, 'training question')}")
    return [text for text in found if text]


def _no_estimator(config: TrainConfig) -> str:
    algorithm = config.algorithm
    if algorithm.name not in ("reinforce", "grpo", "ppo"):
        return f"algorithm.name = {algorithm.name!r} (a function of your own; register it with verl)"
    if algorithm.name == "reinforce" and (algorithm.baseline, algorithm.whiten) not in _REINFORCE:
        return f"algorithm.baseline = {algorithm.baseline!r} with whiten = {str(algorithm.whiten).lower()}"
    return ""


def left_out(config: TrainConfig) -> list[str]:
    """What verl does otherwise or not at all, where that changes no gradient."""
    training = config.training
    told = []
    if training.stop_on_collapse:
        told.append("training.stop_on_collapse: verl goes on; watch search/valid_actions")
    if training.max_sampler_gap is not None:
        told.append("training.max_sampler_gap: verl goes on; watch training/rollout_probs_diff_mean")
    if config.evaluation.transfer_limit:
        told.append("evaluation.transfer_limit: zerosearch evaluate measures both engines afterwards")
    return told


_REINFORCE = {
    ("group", False): "rloo",
    ("none", True): "reinforce_plus_plus",
    ("group", True): "reinforce_plus_plus_baseline",
}


def _algorithm(config: TrainConfig) -> Settings:
    algorithm = config.algorithm
    grpo = GRPO_BY_BATCH if algorithm.scale == "batch" else "grpo"
    estimator = {"grpo": grpo, "ppo": "gae"}.get(algorithm.name) or _REINFORCE[algorithm.baseline, algorithm.whiten]
    settings: Settings = {
        "algorithm.adv_estimator": estimator,
        "algorithm.norm_adv_by_std_in_grpo": algorithm.scale == "group",
        "algorithm.gamma": algorithm.gamma if algorithm.name == "ppo" else 1.0,
        "algorithm.lam": algorithm.lam if algorithm.name == "ppo" else 1.0,
        "actor_rollout_ref.actor.clip_ratio": algorithm.clip_low,
        "actor_rollout_ref.actor.clip_ratio_low": algorithm.clip_low,
        "actor_rollout_ref.actor.clip_ratio_high": algorithm.clip_high,
        "actor_rollout_ref.actor.clip_ratio_c": _NEVER if algorithm.dual_clip is None else algorithm.dual_clip,
        "actor_rollout_ref.actor.policy_loss.loss_mode": "gspo" if algorithm.ratio_level == "sequence" else "vanilla",
        "actor_rollout_ref.actor.loss_agg_mode": algorithm.aggregation,
        "actor_rollout_ref.actor.entropy_coeff": algorithm.entropy_coef,
        "actor_rollout_ref.actor.ppo_epochs": algorithm.epochs,
        "algorithm.rollout_correction.rollout_is": None if algorithm.correct_sampler is None else "token",
        "algorithm.rollout_correction.rollout_is_threshold": algorithm.correct_sampler or 2.0,
    }
    if algorithm.aggregation == "seq-mean-token-sum-norm":
        settings["actor_rollout_ref.actor.loss_scale_factor"] = config.protocol.max_policy_tokens
    return settings


def _kl(config: TrainConfig) -> Settings:
    algorithm = config.algorithm
    where = algorithm.kl if algorithm.kl_coef > 0 else "none"
    settings: Settings = {
        "actor_rollout_ref.actor.use_kl_loss": where == "loss",
        "algorithm.use_kl_in_reward": where == "reward",
    }
    if where == "loss":
        settings["actor_rollout_ref.actor.kl_loss_coef"] = algorithm.kl_coef
        settings["actor_rollout_ref.actor.kl_loss_type"] = _KL[algorithm.kl_estimator]
    if where == "reward":
        settings["algorithm.kl_ctrl.kl_coef"] = algorithm.kl_coef
        settings["algorithm.kl_penalty"] = "kl"
    return settings


def _batches(config: TrainConfig) -> Settings:
    training, limit = config.training, config.protocol.max_context_tokens
    tokens = max(training.micro_batch_tokens, limit)  # verl cannot cut an episode
    actor = "actor_rollout_ref.actor."
    return {
        "data.train_batch_size": training.questions_per_step,
        "data.seed": config.seed,
        "data.max_prompt_length": limit,
        "data.max_response_length": limit,
        "data.return_raw_chat": True,
        actor + "ppo_mini_batch_size": training.questions_per_step // config.algorithm.updates_per_batch,
        actor + "use_dynamic_bsz": True,
        actor + "ppo_max_token_len_per_gpu": tokens,
        actor + "grad_clip": training.max_grad_norm,
        actor + "data_loader_seed": config.seed,
        actor + "optim.lr": training.learning_rate,
        actor + "optim.lr_warmup_steps": training.warmup_steps,
        actor + "optim.weight_decay": training.weight_decay,
        actor + "optim.clip_grad": training.max_grad_norm,
    }


def _model(config: TrainConfig, places: Places) -> Settings:
    """The policy. Micro-batches are packed, also without flash-attn, where transformers masks by position: padding to
    the longest episode would multiply the tokens that memory is needed for. Logits of the whole vocabulary are made a
    chunk of tokens at a time, where the fused head or the entropy lets them."""
    dtype, actor = config.model.dtype.replace("auto", "bfloat16"), "actor_rollout_ref.actor."
    return {
        **_weights(config, "actor_rollout_ref.model.", places, packed=True),
        "actor_rollout_ref.model.use_fused_kernels": places.fused_head,
        actor + "entropy_from_logits_with_chunking": True,
        # Compiled is the entropy alone, and each number of chunks would be compiled anew.
        actor + "fsdp_config.use_torch_compile": False,
        **_precision("actor_rollout_ref.actor.fsdp_config.", dtype),
        **_precision("actor_rollout_ref.ref.fsdp_config.", dtype),
        "actor_rollout_ref.rollout.dtype": dtype,
        "actor_rollout_ref.actor.strategy": "fsdp2",
        "actor_rollout_ref.ref.strategy": "fsdp2",
    }


def _precision(prefix: str, dtype: str) -> Settings:
    """verl keeps weights in float32 and computes in bfloat16, unless it is told otherwise."""
    if dtype not in _FSDP_DTYPES:
        return {}
    return {
        f"+{prefix}mixed_precision.param_dtype": _FSDP_DTYPES[dtype],
        f"+{prefix}mixed_precision.reduce_dtype": "fp32",
        f"+{prefix}mixed_precision.buffer_dtype": "fp32",
    }


def _weights(config: TrainConfig, prefix: str, places: Places, *, packed: bool) -> Settings:
    model = config.model
    settings: Settings = {
        prefix + "path": places.model,
        prefix + "enable_gradient_checkpointing": model.gradient_checkpointing,
        prefix + "use_remove_padding": packed,
    }
    if not places.flash_attention:
        settings["+" + prefix + "override_config.attn_implementation"] = "sdpa"
    if model.lora is not None:
        settings |= {
            prefix + "lora_rank": model.lora.rank,
            prefix + "lora_alpha": int(model.lora.alpha) if model.lora.alpha.is_integer() else model.lora.alpha,
            prefix + "target_modules": "all-linear",
        }
    if model.adapter is not None and prefix.startswith("actor"):
        settings[prefix + "lora_adapter_path"] = str(Path(model.adapter).expanduser().absolute())
    return settings


def _critic(config: TrainConfig, places: Places) -> Settings:
    algorithm, training = config.algorithm, config.training
    warmup = algorithm.critic_warmup_steps
    return {
        **_weights(config, "critic.model.", places, packed=places.flash_attention),
        "critic.strategy": "fsdp2",
        **_precision("critic.fsdp.", config.model.dtype),
        "critic.optim.lr": algorithm.critic_learning_rate,
        "critic.optim.weight_decay": training.weight_decay,
        "critic.optim.clip_grad": training.max_grad_norm,
        "critic.grad_clip": training.max_grad_norm,
        "critic.ppo_max_token_len_per_gpu": max(training.micro_batch_tokens, config.protocol.max_context_tokens),
        "critic.cliprange_value": _NEVER if algorithm.value_clip is None else algorithm.value_clip,
        "trainer.critic_warmup": warmup + 1 if warmup else 0,  # verl counts steps from 1
    }


def _rollout(config: TrainConfig, places: Places) -> Settings:
    training, rollout = config.training, "actor_rollout_ref.rollout."
    settings: Settings = {
        rollout + "name": "vllm",
        rollout + "n": training.rollouts,
        rollout + "temperature": training.temperature,
        rollout + "top_p": training.top_p,
        rollout + "top_k": training.top_k or -1,
        rollout + "seed": config.seed,
        rollout + "calculate_log_probs": True,
        rollout + "tensor_model_parallel_size": 1,
        rollout + "max_model_len": config.protocol.max_context_tokens,
        rollout + "val_kwargs.temperature": 0.0,
        rollout + "val_kwargs.n": 1,
        rollout + "agent.num_workers": min(_MOST_WORKERS, training.questions_per_step),
        rollout + "agent.default_agent_loop": AGENT,
        rollout + "agent.agent_loop_config_path": str(places.verl.absolute() / "agent_loop.yaml"),
    }
    if config.model.lora is not None:
        settings[rollout + "load_format"] = "safetensors"  # vLLM gets the base once, then adapters alone
    return settings


def _run(config: TrainConfig, places: Places) -> Settings:
    training, evaluation, verl = config.training, config.evaluation, places.verl.absolute()
    an_epoch = max(places.questions // training.questions_per_step, 1)
    logs = config.logging
    kept = {"trainer.rollout_data_dir": str(verl / "rollouts")} if logs.trajectories_every else {}
    contents = ["model", "optimizer", "extra"] + (["hf_model"] if config.model.full else [])
    return kept | {
        "data.train_files": str(verl / "train.parquet"),
        "data.val_files": str(verl / "validation.parquet"),
        "data.dataloader_num_workers": 0,
        "actor_rollout_ref.actor.checkpoint.save_contents": contents,
        "actor_rollout_ref.actor.checkpoint.load_contents": ["model", "optimizer", "extra"],
        "trainer.total_training_steps": training.steps,
        "trainer.total_epochs": math.ceil(training.steps / an_epoch),
        "trainer.save_freq": training.checkpoint_every or training.steps,
        "trainer.max_actor_ckpt_to_keep": training.keep_checkpoints,
        "trainer.max_critic_ckpt_to_keep": training.keep_checkpoints,
        "trainer.test_freq": evaluation.every or training.steps,
        "trainer.val_before_train": True,
        "trainer.resume_mode": "auto",
        "trainer.default_local_dir": str(verl / "checkpoints"),
        "trainer.checkpoint_callback_class": "zerosearch.scaleout.verl.trainer.KeepPolicy",
        "trainer.project_name": "zerosearch",
        "trainer.experiment_name": config.name,
        "trainer.logger": ["console", "file"]
        + [name for name in ("tensorboard", "wandb", "trackio") if getattr(logs, name)],
        "trainer.nnodes": 1,
        "trainer.n_gpus_per_node": 1,
    }
