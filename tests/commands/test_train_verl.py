"""`zerosearch train --on verl`: what is printed and what is refused, without verl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zerosearch.files.jsonl import write_jsonl

SERVED = ("--set", "engine.simulated.base_url=http://sim:8000/v1", "--set", "engine.simulated.adapter=none")


@pytest.fixture
def config(tmp_path: Path) -> str:
    rows = [{"id": str(n), "question": f"What is {n}?", "golden_answers": [str(n)]} for n in range(8)]
    write_jsonl(tmp_path / "q.jsonl", rows)
    path = tmp_path / "c.toml"
    path.write_text(f'data.train = "{tmp_path}/q.jsonl"\ntraining = {{ questions_per_step = 4, steps = 6 }}\n')
    return str(path)


def test_a_dry_run_prints_verls_settings_and_starts_nothing(zerosearch: Any, config: str, tmp_path: Path) -> None:
    own = ("--verl", "trainer.n_gpus_per_node=8", "--folder", str(tmp_path / "runs"))
    result = zerosearch("train", config, "--on", "verl", "--dry-run", *SERVED, *own)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert "algorithm.adv_estimator=rloo" in lines
    assert "trainer.total_epochs=3" in lines  # two steps an epoch
    assert [line for line in lines if "n_gpus_per_node" in line] == ["trainer.n_gpus_per_node=8"]
    assert any(line.startswith("# left out: training.stop_on_collapse") for line in lines)
    assert not (tmp_path / "runs").exists()


def test_questions_that_are_asked_in_training_and_evaluation_are_told(zerosearch: Any, config: str) -> None:
    own = ("--set", f"evaluation.questions={Path(config).with_name('q.jsonl')}", "--set", "evaluation.limit=3")
    result = zerosearch("train", config, "--on", "verl", "--dry-run", *SERVED, *own)
    assert "# warning: 3 of 3 questions of evaluation.questions are also in data.train" in result.out


def test_a_local_simulator_is_refused_by_name(zerosearch: Any, config: str) -> None:
    result = zerosearch("train", config, "--on", "verl", "--dry-run")
    assert result.code != 0
    assert "engine.simulated without base_url" in result.line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--on", "slurm"), "there is verl"),
        (("--dry-run",), "--on verl"),
        (("--on", "verl", "--verl", "trainer.nnodes"), "key=value"),
        (("--on", "verl", "--seeds", "3,4"), "--set seed=3 --name run-seed3"),
        (("--simulators", "2"), "--on verl"),
        (("--on", "verl", "--serve", "--max-model-len 4096"), "--simulators"),
        (("--on", "verl", "--simulators", "2"), "choose one"),  # and `SERVED` names a server
    ],
)
def test_a_mistake_is_one_line(zerosearch: Any, config: str, words: tuple[str, ...], said: str) -> None:
    result = zerosearch("train", config, *SERVED, *words)
    assert result.code != 0
    assert said in result.line


def test_a_dry_run_shows_how_replicas_are_served(zerosearch: Any, config: str) -> None:
    own = ("--set", "engine.simulated.adapter=none", "--set", "engine.simulated.model=Qwen/Sim-14B")
    replicas = ("--simulators", "4x2", "--serve", "--max-model-len 4096")
    result = zerosearch("train", config, "--on", "verl", "--dry-run", *own, *replicas)
    assert result.code == 0, result.err
    (line,) = (line for line in result.out.splitlines() if "vllm serve" in line)
    assert line.startswith("# 4 times, on free GPUs: vllm serve Qwen/Sim-14B ")
    assert line.endswith("--tensor-parallel-size 2 --max-model-len 4096")


def test_without_verl_it_says_what_to_install(zerosearch: Any, config: str, tmp_path: Path) -> None:
    result = zerosearch("train", config, "--on", "verl", *SERVED, "--folder", str(tmp_path / "runs"))
    assert result.code != 0
    assert "zerosearch-rl[verl]" in result.line
    assert not (tmp_path / "runs").exists()
