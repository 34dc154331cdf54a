"""`zerosearch bench`: it measures what it says, downloads nothing, and refuses what it does not know."""

from __future__ import annotations

import json
from typing import Any

import pytest

SMALL = (
    "--shape", "tiny", "--repeats", "1", "--page-tokens", "8", "--set", "training.questions_per_step=2",
    "--set", "training.rollouts=3", "--set", "protocol.max_searches=2",
)  # fmt: skip


@pytest.mark.parametrize("continuous", ["true", "false"])
def test_what_is_measured_is_what_was_played(zerosearch: Any, continuous: str) -> None:
    result = zerosearch("bench", *SMALL, "--set", f"training.continuous={continuous}", "--json")
    assert result.code == 0, result.err
    found = json.loads(result.out[result.out.index("{") :])
    assert (found["device"], found["dtype"], found["shape"]) == ("CPU", "float32", "tiny")
    assert found["work"]["questions"] * found["work"]["rollouts"] == 6
    for name in ("rollout_seconds", "update_seconds"):
        assert len(found[name]) == 2
        assert all(seconds > 0 for seconds in found[name])
    for step in range(2):  # six episodes of two or three turns, each turn of at least four tokens
        assert found["policy_tokens"][step] >= 2 * 6 * 4
        assert found["simulator_tokens"][step] >= 6 * 4
        prompts = 6 * (220 + 12)
        sampled = found["policy_tokens"][step] + found["simulator_tokens"][step]
        assert prompts + sampled <= found["update_tokens"][step] <= prompts + 6 * 28 + sampled
    assert found["update_peak_share"] is None  # a CPU's rate is not known here


def test_the_table_names_the_work_and_its_rates(zerosearch: Any) -> None:
    result = zerosearch("bench", *SMALL)
    assert result.code == 0, result.err
    assert "tiny (0 million random weights, float32) on CPU: 2 questions x 3 episodes" in result.out
    for row in ("rollouts", "update", "step"):
        assert row in result.out


def test_a_shape_that_is_unknown_is_told_the_known_ones(zerosearch: Any) -> None:
    result = zerosearch("bench", "--shape", "qwen9-1t")
    assert result.code == 2
    assert "shape 'qwen9-1t': known are smollm2-135m, qwen2.5-0.5b" in result.err
