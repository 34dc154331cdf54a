"""Real runs of verl's `main_ppo` on a CPU, by our launcher: `make test-verl`. Skipped where verl is not installed."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("verl", reason="verl is not installed here: make test-verl has an environment of its own")

from scaleout.verl_run.processes import gone
from scaleout.verl_run.standin_vllm import lives
from scaleout.verl_run.verl_bench import LORA, MERGE, RUNS, Bench, Trained, weights
from tiny import tiny_llama, tiny_tokenizer


@pytest.mark.parametrize("name", RUNS)
def test_two_steps_train_and_are_read_by_evaluate(name: str, trained: Trained, zerosearch: Any) -> None:
    bench = trained.run(name)
    first, second = (bench.metrics(name)[step] for step in (1, 2))
    assert max(step["search/searches"] for step in (first, second)) > 0.2  # they did search, and saw pages
    for step in (first, second):
        assert step["search/search_errors"] == 0
        assert step["actor/grad_norm"] > 0
        assert step["training/rollout_actor_probs_pearson_corr"] > 0.99  # mask and ids are those that were sampled
    assert (first["search/noise"], second["search/noise"]) == (0.0, 0.5)  # the curriculum's step 0 and step 1 of 2
    assert first["search/cache_hits"] > 0  # rollouts of a question share its pages
    assert ("critic/vf_loss" in first) == (name == "ppo")
    _weights_changed(bench, name)
    evaluated = zerosearch(*bench.evaluated(name))
    assert evaluated.code == 0, evaluated.err


def test_a_killed_run_goes_on_from_its_last_checkpoint(trained: Trained) -> None:
    """The driver of `ppo` was killed after its first step."""
    verl = trained.run("ppo").run("ppo") / "verl"
    first, second = (sorted(trained.bench.steps(verl / f"metrics-{start}.jsonl")) for start in (1, 2))
    assert first[-1] == 1
    assert second == [1, 2]  # verl evaluates where it goes on


def test_a_runs_own_simulators_are_replaced_and_end_with_it(trained: Trained) -> None:
    """`rloo-lora-kl` has two replicas on two of three GPUs; one of them dies in the first step."""
    verl = trained.run("rloo-lora-kl").run("rloo-lora-kl") / "verl"
    served = [lives(verl / f"simulator-{number}.log") for number in (0, 1)]
    assert sorted(map(len, served)) == [1, 2]
    assert "ended, status 7; started again" in trained.said["rloo-lora-kl"]
    assert len({life["gpus"] for server in served for life in server}) == 2
    assert all(life["words"][-2:] == ["--max-model-len", "4096"] for server in served for life in server)
    assert gone([process for server in served for life in server for process in life["processes"]])


def test_packed_episodes_and_the_fused_head_give_the_samplers_probabilities(bench: Bench) -> None:
    """A model with attention and a tied head. Did episodes of a micro-batch see one another, the difference were 9e-4
    and the correlation .53 (four episodes as one row)."""
    tiny_llama(len(tiny_tokenizer())).save_pretrained(bench.folder / "model")
    plus_plus = 'name = "reinforce", baseline = "none", whiten = true, kl = "none"'
    said = bench.train(bench.config("lora-tied", LORA, plus_plus), MERGE)
    assert "Using Torch backend for fused kernels" in said
    for step in (1, 2):
        measured = bench.metrics("lora-tied")[step]
        assert measured["training/rollout_probs_diff_mean"] < 1e-4
        assert measured["training/rollout_actor_probs_pearson_corr"] > 0.999
        assert measured["actor/grad_norm"] > 0
    _weights_changed(bench, "lora-tied")


def _weights_changed(bench: Bench, name: str) -> None:
    one, two = (weights(bench.policy(name, step)) for step in (1, 2))
    assert one.keys() == two.keys()
    assert any(not one[key].equal(two[key]) for key in one)
    if "lora" not in name:
        start = weights(bench.folder / "model")
        assert any(not start[key].float().equal(one[key].float().to(start[key].dtype)) for key in start)
