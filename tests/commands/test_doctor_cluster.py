"""`zerosearch doctor --on verl --gpus N`: how a cluster would be divided."""

from __future__ import annotations

from typing import Any

import pytest

from zerosearch.commands.doctor_estimate import _known, flags


def test_a_cluster_is_divided_and_the_command_told(zerosearch: Any) -> None:
    served = ("--set", "engine.simulated.model=Qwen/Qwen2.5-7B-Instruct")
    result = zerosearch("doctor", "--on", "verl", "--gpus", "32", "--model", "qwen2.5-3b", "--gpu", "H100", *served)
    assert result.code == 0, result.err
    assert "GPUs of the simulator, qwen2.5-7b" in result.out
    assert "--verl trainer.n_gpus_per_node=8" in result.out
    assert "estimated" in result.out


def test_the_command_starts_the_servers_that_nobody_else_does(zerosearch: Any) -> None:
    asked = ("doctor", "--on", "verl", "--gpus", "8", "--config", "one-gpu-3b", "--gpu", "H100")
    line = zerosearch(*asked).out.splitlines()[-1]
    servers = line.partition(" --simulators ")[2]
    assert servers.endswith("x1")
    taken = zerosearch("train", "one-gpu-3b", *line.split()[3:], "--dry-run")
    assert f"# {servers.removesuffix('x1')} times, on free GPUs: vllm serve" in taken.out, taken.err
    elsewhere = zerosearch(*asked, "--set", "engine.simulated.base_url=http://127.0.0.1:9/v1")
    assert "--simulators" not in elsewhere.out


def test_too_few_gpus_end_with_status_1(zerosearch: Any) -> None:
    result = zerosearch("doctor", "--on", "verl", "--gpus", "2", "--model", "qwen2.5-32b", "--gpu", "A100")
    assert result.code == 1
    assert "does not fit" in result.out


@pytest.mark.parametrize("words", [("--on", "slurm", "--gpus", "8"), ("--on", "verl")])
def test_half_a_question_is_an_error(zerosearch: Any, words: tuple[str, ...]) -> None:
    result = zerosearch("doctor", *words, "--model", "qwen2.5-3b")
    assert result.code != 0
    assert "--on verl --gpus 32" in result.line


def test_machines_of_eight() -> None:
    assert "nnodes=3 --verl trainer.n_gpus_per_node=8" in flags(24, 1)
    assert "nnodes=1 --verl trainer.n_gpus_per_node=5" in flags(5, 1)


def test_a_served_model_is_known_by_the_size_in_its_name() -> None:
    assert _known("Qwen/Qwen2.5-14B-Instruct") == "qwen2.5-14b"
    assert _known("smollm2-135m") == "smollm2-135m"
