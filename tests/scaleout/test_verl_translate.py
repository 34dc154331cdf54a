"""Our configurations in verl's words: what is said is said right, and what cannot be said is refused by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zerosearch.config import TrainConfig
from zerosearch.config_file import config_from_dict, load_config
from zerosearch.episodes.questions import Question
from zerosearch.errors import CheckpointError, ConfigError
from zerosearch.files.jsonl import write_json, write_jsonl
from zerosearch.run_folder import known_settings
from zerosearch.scaleout.verl.launch import check_folder, plan
from zerosearch.scaleout.verl.translate import Places, refusals, translate

SERVED = "engine.simulated.base_url=http://sim:8000/v1"
FREE = ("engine.simulated.adapter=none", "engine.budget_usd=none", "engine.budget_searches=none")
PLACES = Places(Path("/runs/x"), "/models/policy", 1000)
A, R = "actor_rollout_ref.actor.", "actor_rollout_ref.rollout."


def told(name: str, *changes: str) -> dict[str, Any]:
    return translate(load_config(name, [SERVED, *FREE, *changes]), PLACES)[0]


def made(**sections: Any) -> TrainConfig:
    engine = {"kind": "simulated", "simulated": {"base_url": "http://sim:8000/v1"}}
    return config_from_dict({"engine": engine, **sections}, "test")


GOLDEN: dict[str, dict[str, Any]] = {
    "paper-qwen2.5-3b": {
        "algorithm.adv_estimator": "rloo",
        "actor_rollout_ref.model.path": "/models/policy",
        A + "use_kl_loss": True,
        A + "kl_loss_coef": 0.001,
        A + "kl_loss_type": "low_var_kl",
        A + "optim.lr": 1e-6,
        A + "clip_ratio_low": 0.2,
        A + "ppo_mini_batch_size": 64,
        "data.train_batch_size": 64,
        R + "n": 5,
        R + "temperature": 1.0,
        R + "top_k": -1,
        "trainer.total_training_steps": 200,
        "trainer.total_epochs": 14,  # 15 steps an epoch of 1000 questions
    },
    "preset:search-r1": {"algorithm.adv_estimator": "gae", "critic.optim.lr": 1e-5, "critic.cliprange_value": 0.5},
    "preset:research": {"algorithm.adv_estimator": "grpo", "algorithm.norm_adv_by_std_in_grpo": True},
    "one-gpu-1.5b": {"algorithm.adv_estimator": "zerosearch_grpo_batch", "actor_rollout_ref.model.lora_rank": 16},
    "demo-gpu": {"actor_rollout_ref.model.target_modules": "all-linear", R + "load_format": "safetensors"},
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_shipped_configuration_means_the_same_to_verl(name: str) -> None:
    changes = ["algorithm.kl=none"] if name == "demo-gpu" else []
    settings = told(name, *changes)
    assert {key: settings.get(key) for key in GOLDEN[name]} == GOLDEN[name]
    assert settings[R + "agent.default_agent_loop"] == "zerosearch"


@pytest.mark.parametrize(
    ("algorithm", "estimator"),
    [
        ({"name": "reinforce"}, "rloo"),
        ({"name": "reinforce", "baseline": "none", "whiten": True}, "reinforce_plus_plus"),
        ({"name": "reinforce", "whiten": True}, "reinforce_plus_plus_baseline"),
        ({"name": "grpo"}, "grpo"),
        ({"name": "grpo", "scale": "none"}, "grpo"),
        ({"name": "grpo", "scale": "batch"}, "zerosearch_grpo_batch"),
        ({"name": "ppo", "gamma": 0.9}, "gae"),
    ],
)
def test_each_algorithm_has_its_estimator(algorithm: dict[str, Any], estimator: str) -> None:
    settings, _ = translate(made(algorithm=algorithm), PLACES)
    assert settings["algorithm.adv_estimator"] == estimator
    assert settings["algorithm.norm_adv_by_std_in_grpo"] == (algorithm.get("scale", "group") == "group")
    assert settings["algorithm.gamma"] == algorithm.get("gamma", 1.0)
    assert ("critic.strategy" in settings) == (estimator == "gae")


def test_the_kl_goes_where_it_went() -> None:
    def kl(**algorithm: Any) -> tuple[Any, ...]:
        settings, _ = translate(made(algorithm={"name": "grpo", **algorithm}), PLACES)
        return settings[A + "use_kl_loss"], settings["algorithm.use_kl_in_reward"]

    assert kl() == (True, False)
    assert kl(kl="none") == kl(kl_coef=0.0) == (False, False)
    assert kl(kl="reward", kl_estimator="k1") == (False, True)


def test_critic_warmup_counts_the_same_steps() -> None:
    """verl updates the actor from step `critic_warmup` on, and its first step is 1."""
    for steps, theirs in ((0, 0), (2, 3)):
        settings, _ = translate(made(algorithm={"name": "ppo", "critic_warmup_steps": steps}), PLACES)
        assert settings["trainer.critic_warmup"] == theirs


def test_no_episode_is_cut_for_a_micro_batch() -> None:
    config = made(training={"micro_batch_tokens": 1024}, protocol={"max_context_tokens": 4096})
    assert translate(config, PLACES)[0][A + "ppo_max_token_len_per_gpu"] == 4096


def test_no_micro_batch_is_padded_to_its_longest_episode_and_no_logits_are_made_all_at_once() -> None:
    """On an H200 16,384 tokens, padded, filled 135 of 140 GiB, and no step was done in 105 seconds."""
    for flash_attention in (False, True):
        places = Places(PLACES.run, PLACES.model, 1000, flash_attention, fused_head=True)
        settings, _ = translate(made(), places)
        assert settings["actor_rollout_ref.model.use_remove_padding"] is True
        assert settings["actor_rollout_ref.model.use_fused_kernels"] is True
        assert settings[A + "entropy_from_logits_with_chunking"] is True
    assert translate(made(), PLACES)[0]["actor_rollout_ref.model.use_fused_kernels"] is False


def test_the_fused_head_is_for_a_tied_head_that_nothing_scales(tmp_path: Path) -> None:
    def fused(**settings: Any) -> Any:
        shape = {"hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 2, "tie_word_embeddings": True}
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"} | shape | settings))
        path = tmp_path / "q.jsonl"
        write_jsonl(path, [{"id": str(n), "question": f"What is {n}?", "golden_answers": ["a"]} for n in range(64)])
        config = made(model={"name": str(tmp_path)}, data={"train": str(path)})
        return plan(config)[0]["actor_rollout_ref.model.use_fused_kernels"]

    assert fused() is True
    assert fused(tie_word_embeddings=False) is False  # FSDP2 divides that weight
    assert fused(model_type="gemma2", final_logit_softcapping=30.0) is False
    assert fused(model_type="no-such-model") is False


def test_questions_that_were_read_are_not_read_again(tmp_path: Path) -> None:
    asked = [Question(str(n), f"What is {n}?", ("a",)) for n in range(64)]
    gone = str(tmp_path / "gone.jsonl")
    settings, notes, _ = plan(made(data={"train": gone}, evaluation={"questions": gone}), None, (asked, asked[:2]))
    assert settings == plan(made(), None, (asked, asked))[0]
    assert any("2 of 2 questions of evaluation.questions are also in data.train" in note for note in notes)


REFUSED: dict[str, dict[str, Any]] = {
    "algorithm.name": {"algorithm": {"name": "examples.algorithm:median"}},
    "algorithm.baseline": {"algorithm": {"baseline": "batch"}},
    "algorithm.ratio_level": {"algorithm": {"name": "grpo", "ratio_level": "sequence"}},
    "algorithm.updates_per_batch": {"algorithm": {"updates_per_batch": 5}},
    "curriculum.kind = 'adaptive'": {"curriculum": {"kind": "adaptive"}},
    "model.device": {"model": {"device": "cpu"}},
    "model.base_url": {"model": {"base_url": "http://h/v1"}},
    "model.adapter": {"model": {"adapter": "embedded:policy"}},
    "engine.simulated without base_url": {"engine": {"kind": "simulated"}},
    "evaluation.engine.simulated": {"evaluation": {"engine": {"kind": "simulated"}}},
    "engine.budget_usd": {"engine": {"kind": "bm25", "budget_usd": 1.0, "bm25": {"corpus": "factbook"}}},
    "training.temperature = 2.5": {"training": {"temperature": 2.5}},
    "training.max_minutes": {"training": {"max_minutes": 5.0}},
    "training.questions_per_step": {"training": {"questions_per_step": 1001}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_verl_has_no_word_for_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be trained on verl") as raised:
        translate(made(**REFUSED[name]), PLACES)
    assert name in str(raised.value)


def test_all_refusals_are_told_at_once() -> None:
    assert len(refusals(made(algorithm={"baseline": "batch"}, training={"max_minutes": 5.0}), 10)) == 3


def test_a_folder_of_other_settings_is_refused_and_all_of_them_are_named(tmp_path: Path) -> None:
    config = made(folder=str(tmp_path), name="x")
    held = known_settings(config) | {"seed": 7, "training.rollouts": 3, "evaluation.limit": 9}
    (tmp_path / "x/verl").mkdir(parents=True)
    write_json(tmp_path / "x/verl/settings.json", {"settings": held})
    with pytest.raises(CheckpointError) as raised:
        check_folder(config)
    told = (
        "seed = 7, now it is 0; training.rollouts = 3, now it is 5; take the old settings, another --name, or --fresh"
    )
    assert str(raised.value) == f"{tmp_path / 'x'}: was made with {told}"
