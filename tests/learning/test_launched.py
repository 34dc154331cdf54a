"""Two processes started as a user starts them take the steps of one: they join, and only the first one speaks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from accelerate.commands.launch import launch_command_parser
from accelerate.utils.launch import prepare_simple_launcher_cmd_env
from tiny import give_adapter, save_chain

from zerosearch.config_file import config_from_dict, config_toml
from zerosearch.files.jsonl import read_rows, write_jsonl
from zerosearch.learning.parallel import Processes
from zerosearch.learning.run import train
from zerosearch.models.local import LocalModel


def _values(folder: Path) -> dict[str, Any]:
    model = str(folder / "model")
    return {
        "folder": str(folder / "runs"),
        "name": "one",
        "data": {"train": str(folder / "questions.jsonl")},
        "model": {"name": model, "adapter": str(folder / "adapter"), "device": "cpu", "lora": {"rank": 2, "alpha": 4}},
        "protocol": {"max_searches": 1, "max_turn_tokens": 12, "max_page_tokens": 16, "max_context_tokens": 400},
        "engine": {"top_k": 1, "simulated": {"model": model, "max_tokens": 16}},
        "evaluation": {"questions": str(folder / "questions.jsonl"), "limit": 3},
        "algorithm": {"name": "reinforce", "baseline": "batch", "kl": "none", "entropy_coef": 0.1},
        "training": {
            "steps": 2,
            "questions_per_step": 5,
            "rollouts": 2,
            "learning_rate": 1e-2,
            "micro_batch_tokens": 512,
        },
        "logging": {"tensorboard": False},
    }


def test_two_launched_processes_train_like_one(tiny_tokenizer: Any, tmp_path: Path) -> None:
    model = save_chain(tiny_tokenizer, "\n<search>nepal</search>", tmp_path / "model")
    policy = LocalModel.load(str(model), device="cpu")
    give_adapter(policy, "policy", seed=1, scale=0.1)
    policy.save_adapter("policy", tmp_path / "adapter")
    rows = [{"id": f"q{i}", "question": f"What is number {i}?", "answer": f"gold{i}"} for i in range(8)]
    write_jsonl(tmp_path / "questions.jsonl", rows)
    config = config_from_dict(_values(tmp_path), "test")
    (tmp_path / "config.toml").write_text(config_toml(config))
    train(config, say=lambda text: None)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "zerosearch"]
    done = subprocess.run(
        [sys.executable, *launch, "train", str(tmp_path / "config.toml"), "--name", "two"],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("step 2/2") == done.stdout.count("run folder") == 1
    folders = [tmp_path / "runs" / name for name in ("one", "two")]
    assert (folders[1] / "spending-1.jsonl").exists()  # the second process searched, too
    one, two = (list(read_rows(folder / "metrics.jsonl")) for folder in folders)
    assert len(one) == len(two) == 2
    assert one[0]["searches"] > 0
    for ours, theirs in zip(one, two, strict=True):
        for key in ("reward", "searches", "policy_tokens", "loss", "grad_norm", "entropy", "trained_rows"):
            assert theirs[key] == pytest.approx(ours[key], rel=1e-3, abs=1e-5), key
        assert theirs["sampler_gap_max"] < 1e-4


@pytest.mark.parametrize("asked", [1, 2])
def test_one_process_that_was_to_be_several_is_told(monkeypatch: pytest.MonkeyPatch, asked: int) -> None:
    words = [
        "--cpu",
        "--num_machines=1",
        "--mixed_precision=no",
        "--dynamo_backend=no",
        f"--num_processes={asked}",
        "x",
    ]
    _, environment = prepare_simple_launcher_cmd_env(launch_command_parser().parse_args(words))
    for name in set(environment) - set(os.environ):
        monkeypatch.setenv(name, environment[name])
    assert ("started one" in (Processes().missed or "")) == (asked == 2)
    assert Processes(0, 2).missed is None
