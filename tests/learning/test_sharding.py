"""Divided weights learn what whole ones do, and any number of processes can go on from their checkpoint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import save_chain, tiny_llama

from zerosearch.config import TrainConfig
from zerosearch.config_file import config_from_dict, config_toml
from zerosearch.errors import ConfigError
from zerosearch.files.jsonl import read_rows, write_jsonl
from zerosearch.learning.run import train
from zerosearch.models.local import LocalModel


def _config(folder: Path, name: str, *, shard: bool) -> TrainConfig:
    model, questions = str(folder / "model"), str(folder / "questions.jsonl")
    return config_from_dict(
        {
            "folder": str(folder / "runs"),
            "name": name,
            "data": {"train": questions},
            "model": {"name": model, "device": "cpu", "full": True, "lora": "none"},
            "protocol": {"max_searches": 1, "max_turn_tokens": 12, "max_page_tokens": 16, "max_context_tokens": 400},
            "engine": {"top_k": 1, "simulated": {"model": model, "max_tokens": 16}},
            "evaluation": {"questions": questions, "limit": 3},
            "algorithm": {"name": "reinforce", "baseline": "batch", "kl": "loss", "entropy_coef": 0.1},
            "training": {
                "steps": 2,
                "questions_per_step": 3,
                "rollouts": 2,
                "learning_rate": 1e-3,
                "micro_batch_tokens": 700,
                "checkpoint_every": 1,
                "shard": shard,
            },
            "logging": {"tensorboard": False},
        },
        "test",
    )


def _train_by_two(config: TrainConfig, file: Path) -> None:
    file.write_text(config_toml(config))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "zerosearch"]
    command = [sys.executable, *launch, "train", str(file)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def _learner(folder: Path, step: int = 2) -> dict[str, Any]:
    path = folder / "checkpoints" / f"step-{step:06d}" / "learner.pt"
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


def _assert_close(one: dict[str, Any], other: dict[str, Any], **tolerance: float) -> None:
    assert one["policy"].keys() == other["policy"].keys()
    for key, value in one["policy"].items():
        torch.testing.assert_close(other["policy"][key], value, **tolerance)
    for place, held in one["optimizer"]["state"].items():
        for key, value in held.items():
            torch.testing.assert_close(other["optimizer"]["state"][place][key], value, **tolerance)


def test_divided_weights_learn_what_whole_ones_do_and_resume(tiny_tokenizer: Any, tmp_path: Path) -> None:
    model = tiny_llama(len(tiny_tokenizer))
    model.save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"id": f"q{i}", "question": f"What is number {i}?", "answer": f"gold{i}"} for i in range(5)]
    write_jsonl(tmp_path / "questions.jsonl", rows)
    alone, shared = (_config(tmp_path, name, shard=name == "two") for name in ("one", "two"))
    train(alone, say=lambda text: None)
    _train_by_two(shared, tmp_path / "two.toml")
    one, two = _learner(alone.run_folder), _learner(shared.run_folder)
    start = dict(model.named_parameters())
    assert all(float((start[key] - value).abs().max()) > 1e-3 for key, value in one["policy"].items())  # it has learned
    _assert_close(one, two, rtol=1e-3, atol=2e-5)
    metrics = [list(read_rows(config.run_folder / "metrics.jsonl")) for config in (alone, shared)]
    for ours, theirs in zip(*metrics, strict=True):
        assert ours["grad_norm"] > 1e-3
        assert theirs["sampler_gap_max"] < 1e-4  # the copy that samples is what is trained
        for key in ("loss", "grad_norm", "entropy", "kl"):
            assert theirs[key] == pytest.approx(ours[key], rel=1e-3, abs=1e-5), key
    read = LocalModel.load(str(shared.run_folder / "checkpoints" / "step-000002" / "policy"), device="cpu")
    for key, value in read.base.named_parameters():
        assert torch.equal(value, two["policy"][key])

    for name in ("again", "by-one"):  # killed after its first step
        shutil.copytree(shared.run_folder, tmp_path / "runs" / name)
        shutil.rmtree(tmp_path / "runs" / name / "checkpoints" / "step-000002")
    _train_by_two(_config(tmp_path, "again", shard=True), tmp_path / "again.toml")
    _assert_close(two, _learner(tmp_path / "runs" / "again"), rtol=0, atol=0)
    train(_config(tmp_path, "by-one", shard=False), say=lambda text: None)
    _assert_close(two, _learner(tmp_path / "runs" / "by-one"), rtol=1e-3, atol=1e-5)


def test_one_process_cannot_divide_anything(tiny_tokenizer: Any, tmp_path: Path) -> None:
    save_chain(tiny_tokenizer, "x", tmp_path / "model")
    write_jsonl(tmp_path / "questions.jsonl", [{"id": "q", "question": "Who?", "answer": "she"}])
    with pytest.raises(ConfigError, match="there is only one process"):
        train(_config(tmp_path, "one", shard=True), say=lambda text: None)
