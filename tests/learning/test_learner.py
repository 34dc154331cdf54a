"""One update: what micro-batches, the mask, the KL, failed searches and bad numbers do to the weights."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.toy import WORDS, toy_config, toy_model, toy_questions, toy_trainer
from torch import Tensor

from zerosearch.config import TrainConfig
from zerosearch.episodes.rollout import ErrorRate, roll_out
from zerosearch.episodes.scoring import Scores
from zerosearch.episodes.trajectory import Trajectory, tries
from zerosearch.learning.batches import Sequences, micro_batches
from zerosearch.learning.critic import Critic
from zerosearch.learning.learner import Learner, explained_variance
from zerosearch.learning.logprobs import Sampled
from zerosearch.learning.policy import Policy
from zerosearch.learning.scaling import NotFinite
from zerosearch.learning.trainer import Trainer
from zerosearch.models.local import LocalModel

# (observation tokens before, policy tokens) of each turn: 2 to 100 tokens, so that batches are mostly padding
SHAPES = [[(3, 90), (5, 2)], [(2, 1)], [(4, 6), (30, 5)], [(1, 2)], [(2, 3), (40, 1)], [(6, 1)], [(1, 12)], [(20, 4)]]
NO_ADVANTAGE = (2, 3)  # the rows of the group whose rewards are all equal
REWARDS = (1.0, 0.0, 0.5, 0.5, 0.2, 0.9, 0.0, 0.3)


def trajectory(
    shape: Sequence[tuple[int, int]], reward: float, *, group: int = 0, rollout: int = 0, seed: int = 0, **changes: Any
) -> Trajectory:
    """Random tokens in the given turns; the log-probs are the toy model's, so that the first step is on-policy."""
    generator = torch.Generator().manual_seed(seed)
    mask = [bit for observed, own in shape for bit in [0] * observed + [1] * own]
    ids = torch.randint(0, len(WORDS), (len(mask),), generator=generator).tolist()
    with torch.no_grad():
        logits = toy_model().base(input_ids=torch.tensor([ids])).logits[0]
    said = torch.log_softmax(logits, dim=-1)
    logprobs = [float(said[t - 1, ids[t]]) if mask[t] else 0.0 for t in range(len(ids))]
    first = Trajectory(
        question=toy_questions(1)[0],
        ids=tuple(ids),
        mask=tuple(mask),
        logprobs=tuple(logprobs),
        prompt_length=shape[0][0],
        turns=(),
        searches=(),
        answer=None,
        scores=Scores(0.0, 0.0, 0.0, 0.0),
        reward=reward,
        stop_reason="answer",
        group=group,
        rollout=rollout,
    )
    return replace(first, **changes)


def uneven(rewards: Sequence[float] = REWARDS) -> list[Trajectory]:
    """Four groups of two."""
    return [
        trajectory(shape, reward, group=i // 2, rollout=i % 2, seed=i)
        for i, (shape, reward) in enumerate(zip(SHAPES, rewards, strict=True))
    ]


def config(algorithm: dict[str, Any], **training: Any) -> TrainConfig:
    return toy_config(
        Path("unused"), algorithm, **{"max_grad_norm": 1e9, "steps": 10, "learning_rate": 0.3, **training}
    )


def learner(
    settings: TrainConfig, *, model: LocalModel | None = None, reference: LocalModel | None = None, sgd: bool = True
) -> Learner:
    """Of a toy model, full weights. Plain gradient descent: Adam would make a large step of a rounding error."""
    frozen = reference or (toy_model(1) if settings.algorithm.kl != "none" else None)
    policy = Policy.full_weights(model or toy_model(), frozen)
    critic = Critic.full_weights(toy_model(2)) if settings.algorithm.name == "ppo" else None
    made = Learner(policy, critic, settings)
    if sgd:
        descent: Any = torch.optim.SGD(policy.parameters().values(), lr=1.0)  # `update` sets the rate
        made.optimizer = descent
    return made


def weights(model: LocalModel) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in model.base.named_parameters()}


def after(settings: TrainConfig, rows: Sequence[Trajectory]) -> tuple[dict[str, Tensor], dict[str, float]]:
    made = learner(settings)
    metrics = made.update(rows, 0)
    return weights(made.policy.model), metrics


def norm(values: dict[str, Tensor], less: dict[str, Tensor]) -> float:
    return math.sqrt(sum(float((value - less[key]).double().square().sum()) for key, value in values.items()))


def assert_same_step(left: dict[str, Tensor], right: dict[str, Tensor], tolerance: float = 1e-5) -> None:
    """The steps from the toy's first weights differ by less than `tolerance`, relative to the step itself."""
    start = weights(toy_model())
    assert norm(right, start) > 1e-2
    assert norm(left, right) < tolerance * norm(right, start)


def play(trainer: Trainer, rollouts: int = 8) -> list[Trajectory]:
    parts = trainer.inputs
    return asyncio.run(
        roll_out(tries(trainer.batch(0), rollouts), parts.generator, parts.engine, parts.training, ErrorRate())
    )


LOSSES: dict[str, dict[str, Any]] = {
    "reinforce": {"name": "reinforce", "kl": "none"},
    "grpo": {"name": "grpo", "kl": "loss", "kl_coef": 0.1, "entropy_coef": 0.01},
    "ppo": {"name": "ppo", "kl": "reward", "kl_estimator": "k1", "kl_coef": 0.1},
}


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum-norm"])
@pytest.mark.parametrize("name", LOSSES)
def test_however_a_batch_is_cut_into_micro_batches_the_step_is_the_same(name: str, aggregation: str) -> None:
    algorithm = LOSSES[name] | {"aggregation": aggregation}
    steps = [after(config(algorithm, micro_batch_tokens=tokens), uneven()) for tokens in (64, 200, 100_000)]
    for found, metrics in steps[1:]:
        assert_same_step(found, steps[0][0])
        for key, value in metrics.items():
            assert value == pytest.approx(steps[0][1][key], rel=1e-4, abs=1e-6), key


def test_the_critics_step_too_is_the_same_however_the_batch_is_cut() -> None:
    found = []
    for tokens in (64, 100_000):
        made = learner(config(LOSSES["ppo"] | {"critic_learning_rate": 1.0}, micro_batch_tokens=tokens))
        assert made.critic is not None
        descent: Any = torch.optim.SGD(made.critic.parameters().values(), lr=1.0)
        made.critic_optimizer = descent
        made.update(uneven(), 0)
        found.append(made.critic.state())
    assert float(found[0]["head.weight"].abs().max()) > 1e-3
    assert norm(found[0], found[1]) < 1e-6


@pytest.mark.parametrize("updates", [1, 3, 5])
def test_every_row_is_trained_once_an_epoch(updates: int) -> None:
    made = learner(config({"name": "reinforce", "kl": "none", "updates_per_batch": updates, "epochs": 3}))
    orders = []
    for epoch in range(3):
        parts = made._parts(8, 4, epoch)
        assert len(parts) == updates
        assert sorted(row for part in parts for row in part) == list(range(8))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert parts == made._parts(8, 4, epoch)
        orders.append(parts)
    assert (orders[0] != orders[1]) == (updates > 1)
    seen: list[int] = []
    looked_at: list[int] = []
    inner = made._policy_loss

    def watch(batch: Any, micro: Any, *rest: Any, **options: Any) -> Tensor:
        (seen if torch.is_grad_enabled() else looked_at).extend(micro.rows)
        return inner(batch, micro, *rest, **options)

    made._policy_loss = watch  # type: ignore[method-assign]
    made.update(uneven(), 4)
    taught = [row for row in range(8) if row not in NO_ADVANTAGE]
    assert sorted(seen) == sorted(taught * 3)
    assert sorted(looked_at) == sorted([*NO_ADVANTAGE] * 3)  # for the metrics alone


@pytest.mark.parametrize("name", LOSSES)
def test_observations_at_the_end_and_what_stands_in_them_change_nothing(name: str) -> None:
    rows = uneven()
    settings = config(LOSSES[name])
    before, expected = after(settings, rows)
    eos = WORDS.index("<eos>")  # also the id that pads are made of
    for tail in ((7, 3, 9), (eos,) * 40):
        longer = [replace(t, ids=t.ids + tail, mask=t.mask + (0,) * len(tail), logprobs=t.logprobs + (0.0,) * len(tail))
                  for t in rows]  # fmt: skip
        found, metrics = after(settings, longer)
        assert_same_step(found, before)
        assert metrics == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_policy_tokens_that_are_the_pad_id_are_trained_like_any_other() -> None:
    eos = WORDS.index("<eos>")  # the toy pads with it
    rows = [replace(t, ids=tuple(eos if own else i for i, own in zip(t.ids, t.mask, strict=True))) for t in uneven()]
    made = learner(config({"name": "reinforce", "kl": "none"}))
    assert float(made._prepare(rows, defaultdict(list)).mask_BT.sum()) == sum(t.policy_tokens for t in rows)
    made.update(rows, 0)
    assert norm(weights(made.policy.model), weights(toy_model())) > 1e-2


@pytest.mark.parametrize("algorithm", [{"name": "grpo"}, {"name": "reinforce"}, {"name": "grpo", "scale": "batch"}])
def test_leaving_out_rows_without_advantage_does_not_change_the_step(
    algorithm: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(algorithm | {"kl": "none"})
    rows = uneven([0.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    found, told = after(settings, rows)
    monkeypatch.setattr(Learner, "_has_gradient", lambda self, batch, row: True)
    whole, all_told = after(settings, rows)
    assert_same_step(found, whole)
    for key in ("entropy", "ratio_mean", "approx_kl", "clip_fraction", "sampler_gap"):  # of all policy tokens
        assert told[key] == pytest.approx(all_told[key], abs=1e-6), key


@pytest.mark.parametrize(("updates", "exact"), [(1, True), (2, False)])
def test_with_one_step_a_batch_the_ratio_is_1_whatever_the_sampler_rounded(updates: int, exact: bool) -> None:
    rows = [replace(t, logprobs=tuple(v - 0.01 for v in t.logprobs)) for t in uneven()]
    _, told = after(config({"name": "grpo", "kl": "none", "updates_per_batch": updates}), rows)
    assert (told["ratio_max"] == told["ratio_mean"] == 1.0) == exact
    assert told["sampler_gap"] > 0


def test_a_batch_without_any_advantage_leaves_the_optimizer_its_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    def two_steps() -> dict[str, Tensor]:
        made = learner(config({"name": "grpo", "kl": "none"}), sgd=False)
        made.update(uneven(), 0)
        made.update(uneven([0.5] * 8), 1)
        return weights(made.policy.model)

    skipped = two_steps()
    monkeypatch.setattr(Learner, "_has_gradient", lambda self, batch, row: True)
    assert_same_step(skipped, two_steps())


def test_failed_searches_and_silent_policies_enter_neither_loss_nor_baseline() -> None:
    settings = config({"name": "reinforce", "baseline": "batch", "kl": "none"})
    rows = uneven()
    failed = trajectory(SHAPES[0], 1.0, group=0, rollout=2, seed=99, stop_reason="engine_error")
    silent = replace(trajectory([(9, 1)], 1.0, group=1, rollout=2), mask=(0,) * 10)
    found, metrics = after(settings, [failed, *rows, silent])
    assert metrics["trained_rows"] == len(rows)
    assert_same_step(found, after(settings, rows)[0])


def test_a_batch_in_which_every_search_failed_updates_nothing() -> None:
    made = learner(config({"name": "ppo", "kl": "none"}), sgd=False)
    assert made.critic is not None
    before, critic = weights(made.policy.model), made.critic.state()
    rows = [replace(t, stop_reason="engine_error") for t in uneven()]
    assert made.update(rows, 0) == {"trained_rows": 0.0}
    assert all(torch.equal(value, before[key]) for key, value in weights(made.policy.model).items())
    assert all(torch.equal(value, critic[key]) for key, value in made.critic.state().items())
    assert not made.optimizer.state


def divergence(policy: LocalModel, reference: LocalModel, rows: Sequence[Trajectory]) -> float:
    """KL(policy, reference), exact, averaged over the policy tokens of `rows`."""
    total = tokens = 0.0
    for row in rows:
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            p, r = (torch.log_softmax(m.base(input_ids=ids).logits[0, :-1], dim=-1) for m in (policy, reference))
        own = torch.tensor(row.mask[1:]).bool()
        total += float((p.exp() * (p - r)).sum(-1)[own].sum())
        tokens += float(own.sum())
    return total / tokens


def sharp(seed: int) -> LocalModel:
    """A toy that is far from uniform, and far from one of another seed."""
    model = toy_model(seed)
    with torch.no_grad():
        model.base.lm_head.weight.mul_(10)
    return model


@pytest.fixture(scope="module")
def unrewarded(tmp_path_factory: pytest.TempPathFactory) -> list[Trajectory]:
    """What `sharp(0)` says, at reward 0."""
    settings = toy_config(tmp_path_factory.mktemp("run"), {"kl": "none"}, steps=1)
    return [replace(t, reward=0.0) for t in play(toy_trainer(settings, sharp(0)))]


@pytest.mark.parametrize(("where", "estimator"), [("loss", "k2"), ("loss", "k3"), ("reward", "k1")])
@pytest.mark.parametrize("name", ["reinforce", "grpo", "ppo"])
def test_without_a_reward_the_kl_moves_the_policy_toward_its_reference(
    name: str, where: str, estimator: str, unrewarded: list[Trajectory]
) -> None:
    algorithm = {"name": name, "kl": where, "kl_estimator": estimator, "kl_coef": 1.0}
    policy, reference = sharp(0), sharp(1)
    made = learner(config(algorithm, learning_rate=3e-3), model=policy, reference=reference)
    before = divergence(policy, reference, unrewarded)
    assert made.update(unrewarded, 0)["kl"] > 0.5 * before  # of the sampled tokens, and k2 is biased
    assert divergence(policy, reference, unrewarded) < 0.95 * before


def test_the_samplers_log_probs_are_the_trainers_and_a_corrupted_one_shows(tmp_path: Path) -> None:
    settings = toy_config(tmp_path, {"name": "grpo", "kl": "none"}, steps=1)
    trainer = toy_trainer(settings)
    rows = play(trainer)
    assert len({len(t.ids) for t in rows}) > 1
    assert any(t.searches for t in rows)
    spread = [replace(t, reward=float(t.rollout)) for t in rows]  # each row has an advantage, so each is compared
    metrics = learner(settings).update(spread, 0)
    assert metrics["sampler_gap_max"] < 1e-4
    at = spread[0].mask.index(1)
    lied = replace(spread[0], logprobs=tuple(x - 0.5 * (i == at) for i, x in enumerate(spread[0].logprobs)))
    assert learner(settings).update([lied, *spread[1:]], 0)["sampler_gap_max"] == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("cap", [2.0, 1.05])
def test_below_float32_old_log_probs_are_the_trainers_and_the_correction_is_capped(cap: float) -> None:
    settings = config({"name": "grpo", "kl": "none", "correct_sampler": cap, "updates_per_batch": 2})
    model = toy_model()
    model.base.to(torch.bfloat16)
    made = learner(settings, model=model)
    rows = uneven()
    rows[1] = replace(rows[1], logprobs=tuple(x - 3.0 * m for x, m in zip(rows[1].logprobs, rows[1].mask, strict=True)))
    metrics: dict[str, list[tuple[float, float]]] = defaultdict(list)
    batch = made._prepare(rows, metrics)
    assert batch.correction_BT is not None
    (micro,) = micro_batches(Sequences([list(t.ids) for t in rows], [list(t.mask) for t in rows]), 10**6)
    with torch.no_grad():
        own = made.policy.logprobs(micro, Sampled()).logprobs_N
    order = list(micro.rows)
    assert torch.allclose(batch.old_logprobs_BT[order][micro.mask_BT.bool()], own, atol=1e-2)
    assert metrics["sampler_gap_max"][0][0] == pytest.approx(3.0, abs=0.1)
    for i, row in enumerate(rows):
        for t, bit in enumerate(row.mask):
            ratio = math.exp(float(batch.old_logprobs_BT[i, t]) - row.logprobs[t])
            assert float(batch.correction_BT[i, t]) == pytest.approx(min(ratio, cap) if bit else 0.0, rel=1e-3)
    assert float(batch.correction_BT.max()) == pytest.approx(cap)
    assert all(math.isfinite(value) for value in made.update(rows, 0).values())


def test_a_truncated_sampler_is_corrected_too_and_no_correction_can_be_asked_for() -> None:
    for algorithm, training, corrected in (
        ({}, {"top_p": 0.9}, True), ({}, {"top_k": 4}, True), ({"correct_sampler": None}, {"top_k": 4}, False),
        ({}, {}, False),
    ):  # fmt: skip
        made = learner(config({"name": "grpo", "kl": "none", "updates_per_batch": 2} | algorithm, **training))
        assert (made._prepare(uneven(), defaultdict(list)).correction_BT is not None) == corrected


def test_the_correction_weighs_each_tokens_loss() -> None:
    """With every sampled log-prob too low by log 1.5, the step is 1.5 times that of a faithful sampler; in one pass."""
    settings = config({"name": "reinforce", "kl": "none"}, top_k=len(WORDS))  # truncates nothing: only recomputes
    low = [
        replace(t, logprobs=tuple(x - math.log(1.5) * m for x, m in zip(t.logprobs, t.mask, strict=True)))
        for t in uneven()
    ]
    start = weights(toy_model())
    plain, corrected = after(settings, uneven())[0], after(settings, low)[0]
    assert_same_step(corrected, {key: start[key] + 1.5 * (plain[key] - start[key]) for key in start})


@pytest.mark.parametrize("name", ["reinforce", "grpo", "ppo"])
@pytest.mark.parametrize("kind", ["reward", "log-prob", "weight"])
def test_a_number_that_is_none_stops_before_the_weights_change(name: str, kind: str) -> None:
    made = learner(config({"name": name, "kl": "none"}), sgd=False)
    rows = uneven()
    if kind == "reward":
        rows[5] = replace(rows[5], reward=math.nan)
    elif kind == "log-prob":  # a poisoned sampler; without spread in the rewards there would be no loss to show it
        rows = [replace(t, reward=0.0, logprobs=(math.nan,) * len(t.ids)) for t in rows]
    else:
        with torch.no_grad():
            made.policy.model.base.lm_head.weight[3, 3] = math.inf
    before = weights(made.policy.model)
    with pytest.raises(NotFinite) as caught:
        made.update(rows, 0)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in weights(made.policy.model).items())
    assert all(p.grad is None for p in made.policy.parameters().values())


def test_during_its_warm_up_only_the_critic_learns() -> None:
    made = learner(config({"name": "ppo", "kl": "none", "critic_warmup_steps": 2}), sgd=False)
    assert made.critic is not None
    before = weights(made.policy.model)
    for step in range(3):
        critic = made.critic.state()
        made.update(uneven(), step)
        assert any(not torch.equal(value, critic[key]) for key, value in made.critic.state().items())
        same = all(torch.equal(value, before[key]) for key, value in weights(made.policy.model).items())
        assert same == (step < 2)


def test_the_critic_explains_returns_that_differ() -> None:
    made = learner(config({"name": "ppo", "kl": "none", "critic_warmup_steps": 99, "critic_learning_rate": 3e-3}))
    rows = uneven()[1:4]
    explained = [made.update(rows, step)["explained_variance"] for step in range(60)]
    assert explained[0] == pytest.approx(0.0, abs=1e-5)
    assert explained[-1] > 0.8


def test_explained_variance() -> None:
    returns = torch.tensor([1.0, 2.0, 3.0, 6.0])
    assert explained_variance(returns, returns + 5) == pytest.approx(1.0)
    assert explained_variance(returns, torch.full((4,), 9.0)) == pytest.approx(0.0)
    assert explained_variance(returns, -returns) == pytest.approx(-3.0)
    assert explained_variance(torch.ones(4), returns) is None
    assert explained_variance(torch.ones(1), torch.zeros(1)) is None


@pytest.mark.parametrize(("warmup", "factors"), [(0, [1, 1, 1]), (3, [0.25, 0.5, 0.75, 1, 1])])
def test_the_learning_rate_warms_up(warmup: int, factors: list[float]) -> None:
    made = learner(config({"name": "grpo", "kl": "none"}, warmup_steps=warmup, learning_rate=0.1), sgd=False)
    for step, factor in enumerate(factors):
        made.update(uneven(), step)
        assert made.optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * factor)


def test_a_critic_is_for_ppo_alone() -> None:
    settings = config({"name": "ppo", "kl": "none"})
    with pytest.raises(ValueError, match="ppo needs a critic"):
        Learner(Policy.full_weights(toy_model(), None), None, settings)
