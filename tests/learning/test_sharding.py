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
from small_run import write_config
from tiny import save_chain, tiny_llama

from zerosearch.config import TrainConfig
from zerosearch.config_file import load_config
from zerosearch.errors import ConfigError
from zerosearch.files.jsonl import read_rows, write_jsonl
from zerosearch.learning.opening import open_learner
from zerosearch.learning.parallel import Processes
from zerosearch.learning.run import train
from zerosearch.learning.sharding import CopiedGenerator
from zerosearch.models.local import LocalModel
from zerosearch.parts import local_models

CHANGES = {
    "model.full": True, "model.lora": "none", "engine.kind": "simulated", "engine.bm25.corpus": None, "engine.top_k": 1,
    "engine.simulated.model": "{folder}/model", "engine.simulated.max_tokens": 16, "evaluation.limit": 3,
    "algorithm.name": "reinforce", "algorithm.baseline": "batch", "algorithm.kl": "loss", "algorithm.entropy_coef": 0.1,
    "training.steps": 2, "training.questions_per_step": 3, "training.learning_rate": 1e-3,
    "training.micro_batch_tokens": 700, "training.checkpoint_every": 1,
}  # fmt: skip


def _config(folder: Path, name: str, *, shard: bool) -> TrainConfig:
    return load_config(write_config(folder / f"{name}.toml", CHANGES, {"name": name, "training.shard": shard}))


def _train_by_two(file: Path) -> None:
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
    _train_by_two(tmp_path / "two.toml")
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
    _config(tmp_path, "again", shard=True)
    _train_by_two(tmp_path / "again.toml")
    _assert_close(two, _learner(tmp_path / "runs" / "again"), rtol=0, atol=0)
    train(_config(tmp_path, "by-one", shard=False), say=lambda text: None)
    _assert_close(two, _learner(tmp_path / "runs" / "by-one"), rtol=1e-3, atol=1e-5)


def test_one_process_cannot_divide_anything(tiny_tokenizer: Any, tmp_path: Path) -> None:
    save_chain(tiny_tokenizer, "x", tmp_path / "model")
    write_jsonl(tmp_path / "questions.jsonl", [{"id": "q", "question": "Who?", "answer": "she"}])
    with pytest.raises(ConfigError, match="there is only one process"):
        train(_config(tmp_path, "one", shard=True), say=lambda text: None)


def test_a_copy_in_fewer_bits_follows_weights_that_are_not_divided(tiny_tokenizer: Any, tmp_path: Path) -> None:
    tiny_llama(len(tiny_tokenizer)).save_pretrained(tmp_path / "model")
    tiny_tokenizer.save_pretrained(tmp_path / "model")
    named = {"model.name": str(tmp_path / "model"), "model.dtype": "bfloat16", "algorithm.kl": "none"}
    config = load_config(write_config(tmp_path / "one.toml", CHANGES | named, {"name": "one"}))
    models = local_models(config)
    learner, generator = open_learner(config, models, Processes.current())
    assert isinstance(generator, CopiedGenerator)
    trained, copied = (dict(model.base.named_parameters()) for model in (learner.policy.model, generator.copy))
    with torch.no_grad():
        for value in trained.values():
            value.add_(torch.rand_like(value))
    generator.sync()
    for name, value in trained.items():
        assert (value.dtype, copied[name].dtype) == (torch.float32, torch.bfloat16)
        torch.testing.assert_close(copied[name].float(), value, rtol=2**-7, atol=1e-6)
    models.close()
