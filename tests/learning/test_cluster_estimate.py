"""A cluster's GPUs divided between policy and simulator: more GPUs help, and what does not fit is not proposed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zerosearch.learning.cluster_estimate import Ask, best, division, kept_of_layer, policy_gib, tensor_parallel
from zerosearch.learning.estimate import Work
from zerosearch.models.cards import card_named
from zerosearch.models.shapes import Shape, config_named, shape_of

H100 = card_named("H100")
assert H100 is not None


def shape(name: str) -> Shape:
    return shape_of(config_named(name), name)


@pytest.fixture(scope="module")
def ask() -> Ask:
    work = Work(64, 5, 3)
    return Ask(shape("qwen2.5-3b"), shape("qwen2.5-7b"), work, H100, 8, full=True, checkpointing=True)  # type: ignore[arg-type]


def test_more_gpus_make_a_step_shorter_but_never_shorter_than_an_episode(ask: Ask) -> None:
    found = [best(replace(ask, gpus=gpus)) for gpus in (2, 8, 32, 256)]
    seconds = [one.seconds for one in found if one is not None]
    assert len(seconds) == 4
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] / seconds[1] > 1.5
    assert seconds[2] / seconds[3] < 1.5  # turns and pages come one after the other


def test_every_gpu_has_a_use_and_machines_are_whole(ask: Ask) -> None:
    for gpus in (2, 8, 32, 256):
        found = best(replace(ask, gpus=gpus))
        assert found is not None
        assert found.policy + found.simulator <= gpus
        assert found.policy <= 8 or found.policy % 8 == 0
        assert found.policy % found.tensor_parallel == 0


def test_what_does_not_fit_is_not_proposed(ask: Ask) -> None:
    large = replace(ask, policy=shape("qwen2.5-32b"))
    assert best(replace(large, gpus=4)) is None
    found = best(replace(large, gpus=32))
    assert found is not None
    assert found.gib <= large.card.gib
    assert found.tensor_parallel > 1


def test_a_model_is_cut_only_where_one_gpu_cannot_hold_it(ask: Ask) -> None:
    assert tensor_parallel(shape("qwen2.5-7b"), ask.card) == 1
    assert tensor_parallel(shape("qwen2.5-32b"), ask.card) == 4


def test_weights_are_shared_among_the_policys_gpus(ask: Ask) -> None:
    few, many = division(ask, 6), division(ask, 2)
    assert few.gib > many.gib
    assert few.update == pytest.approx(3 * many.update)


def test_pages_from_elsewhere_cost_no_gpu(ask: Ask) -> None:
    found = best(replace(ask, simulator=None))
    assert found is not None
    assert (found.policy, found.simulator, found.pages) == (8, 0, 0.0)


def test_layers_that_are_not_recomputed_keep_what_torch_keeps(ask: Ask) -> None:
    """Torch kept 102,936 bytes a token and layer of Qwen2.5-1.5B with LoRA, 108,856 with all weights (saved tensors
    counted on a CPU in bfloat16)."""
    small = shape("qwen2.5-1.5b")
    assert kept_of_layer(small) == pytest.approx(102_936, rel=0.01)
    recomputed, kept = (replace(ask, policy=small, checkpointing=again) for again in (True, False))
    assert policy_gib(kept, 1) - policy_gib(recomputed, 1) > 35  # of 16,384 tokens


def test_logits_are_whole_only_where_the_fused_head_is_not_used(ask: Ask) -> None:
    tied = shape("qwen2.5-3b")
    untied = replace(tied, looked_up=tied.vocabulary * tied.hidden)
    more = policy_gib(replace(ask, policy=untied), 4) - policy_gib(ask, 4)
    assert more == pytest.approx(6 * 15_872 * tied.vocabulary / 2**30, rel=0.15)
