"""`zerosearch bench`: it measures what it says, downloads nothing, and refuses what it does not know."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SMALL = (
    "--shape", "tiny", "--repeats", "1", "--page-tokens", "8", "--set", "training.questions_per_step=2",
    "--set", "training.rollouts=3", "--set", "protocol.max_searches=2",
)  # fmt: skip


@pytest.mark.parametrize("sampler", ["native", "plain"])
def test_what_is_measured_is_what_was_played(zerosearch: Any, sampler: str) -> None:
    result = zerosearch("bench", *SMALL, "--set", f"model.sampler={sampler}", "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out[result.out.index("{") :])
    assert (found["device"], found["dtype"], found["shape"]) == ("CPU", "float32", "tiny")
    assert found["work"]["questions"] * found["work"]["rollouts"] == 6
    for name in ("rollout_seconds", "update_seconds"):
        assert len(found[name]) == 2
        assert all(seconds > 0 for seconds in found[name])
    for step in range(2):  # six episodes of one to three turns, each turn of at least four tokens
        assert found["policy_tokens"][step] >= 6 * 4
        prompts = 6 * (280 + 12)
        sampled = found["policy_tokens"][step] + found["simulator_tokens"][step]
        assert prompts + sampled <= found["update_tokens"][step] <= prompts + 6 * 28 + sampled
    assert sum(found["simulator_tokens"]) >= 4  # of twelve episodes some search
    assert found["update_peak_share"] is None  # a CPU's rate is not known here


def test_a_profile_names_every_phase_of_a_step_and_leaves_no_time_out(zerosearch: Any, tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    result = zerosearch("bench", *SMALL, "--profile", "--out", str(out))
    assert result.code == 0, result.err
    assert "where the rollouts' time goes" in result.out
    found = json.loads(out.read_text())
    sampled = {f"{what}, {who}" for what in ("prefill", "decode") for who in ("policy", "simulator")} | {"sampling"}
    assert sampled <= found["rollout_phases"][1].keys()
    assert {"forward", "backward", "optimizer"} <= found["update_phases"][1].keys()
    for stage in ("rollout", "update"):
        for seconds, phases in zip(found[f"{stage}_seconds"], found[f"{stage}_phases"], strict=True):
            assert sum(spent["host"] for spent in phases.values()) == pytest.approx(seconds, rel=0.1, abs=0.02)
    assert found["rollout_limit"] is None  # a CPU's rate is not known here
    assert 0 < found["chains"][1] <= found["update_tokens"][1] // 6


def test_samplers_are_measured_one_after_the_other_on_the_same_work(zerosearch: Any, tmp_path: Path) -> None:
    out = tmp_path / "both.json"
    result = zerosearch("bench", *SMALL, "--samplers", "native,plain", "--out", str(out))
    assert result.code == 0, result.err
    native, plain = json.loads(out.read_text())
    assert (native["sampler"], plain["sampler"]) == ("native", "plain")
    assert native["policy_tokens"] == plain["policy_tokens"]
    assert native["chains"] == plain["chains"]
    assert "sampler native" in result.out
    assert "sampler plain" in result.out
    assert zerosearch("bench", *SMALL, "--out", str(out)).code == 0  # its own file is written anew
    out.write_text('{"mine": 1}')
    refused = zerosearch("bench", *SMALL, "--out", str(out))
    assert refused.code == 2
    assert "was not made by this command" in refused.line
    assert (refused.out, out.read_text()) == ("", '{"mine": 1}')
    unknown = zerosearch("bench", *SMALL, "--samplers", "fast")
    assert unknown.code == 2
    assert "--samplers fast: known are auto, native, vllm, plain" in unknown.err


def test_without_profile_nothing_is_timed(zerosearch: Any) -> None:
    result = zerosearch("bench", *SMALL, "--json")
    found = json.loads(result.out[result.out.index("{") :])
    assert found["rollout_phases"] == found["update_phases"] == []


def test_the_table_names_the_work_and_its_rates(zerosearch: Any) -> None:
    result = zerosearch("bench", *SMALL)
    assert result.code == 0, result.err
    assert "tiny (0 million random weights, float32) on CPU: 2 questions x 3 episodes" in result.out
    for row in ("rollouts", "update", "step"):
        assert row in result.out


WHOLE = ("--set", "model.full=true", "--set", "model.lora=none", "--set", "model.adapter=none")


@pytest.mark.parametrize(
    ("words", "trained", "dtype"),
    [
        ((), "LoRA of rank 8", "float32"),
        (("--set", "algorithm.name=ppo"), "LoRA of rank 8, with a critic", "float32"),
        (WHOLE, "all weights", "float32"),
        (("--set", "model.dtype=bfloat16"), "LoRA of rank 8", "bfloat16"),
    ],
)
def test_what_the_settings_say_is_trained(zerosearch: Any, words: tuple[str, ...], trained: str, dtype: str) -> None:
    result = zerosearch("bench", *SMALL, "--json", *words)
    assert result.code == 0, result.err
    found = json.loads(result.out[result.out.index("{") :])
    assert (found["trained"], found["dtype"]) == (trained, dtype)
    assert min(found["policy_tokens"] + found["update_tokens"]) > 0
    assert sum(found["simulator_tokens"]) > 0
    assert max(found["sampler_gaps"]) < 0.01


@pytest.mark.slow
def test_weights_are_divided_among_the_processes(tmp_path: Path) -> None:
    out = tmp_path / "two.json"
    command = (sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "zerosearch", "bench")
    divided = ("--set", "training.shard=true", "--out", str(out))
    done = subprocess.run([*command, *SMALL, *WHOLE, *divided], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert (found["processes"], found["trained"]) == (2, "all weights, divided")
    assert max(found["sampler_gaps"]) < 0.01
    assert found["estimated_gib"] is None  # doctor counts one process


def test_one_process_cannot_divide_its_weights(zerosearch: Any) -> None:
    result = zerosearch("bench", *SMALL, *WHOLE, "--set", "training.shard=true")
    assert result.code == 2
    assert "training.shard = true: there is only one process" in result.err


def test_a_shape_that_is_unknown_is_told_the_known_ones(zerosearch: Any) -> None:
    result = zerosearch("bench", "--shape", "qwen9-1t")
    assert result.code == 2
    assert "shape 'qwen9-1t': known are smollm2-135m, qwen2.5-0.5b" in result.err
