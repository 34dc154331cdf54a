"""Supervised training: it learns, it keeps the best weights, and only the targets count."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import give_adapter, tiny_local_model
from torch import Tensor
from torch.nn.functional import cross_entropy

from zerosearch.errors import RunError
from zerosearch.learning import sft
from zerosearch.learning.policy import Policy
from zerosearch.learning.sft import Example, SFTSettings, _losses, _progress, _schedule, split_by_key, train_sft
from zerosearch.models.local import LocalModel

QUICK = SFTSettings(epochs=30, batch_size=10, learning_rate=2e-2, validation_share=0.2, evaluations=6, patience=99)


def examples(count: int, twins: bool = False, seed: int = 0) -> list[Example]:
    """Random texts of unequal length, the second half of each a target. Twins say the same under another key."""
    rng = random.Random(seed)
    made = []
    for n in range(count):
        length = rng.randrange(8, 20)
        ids = [rng.randrange(3, 400) for _ in range(length)]
        mask = [int(place >= length // 2) for place in range(length)]
        made += [Example(ids, mask, f"{key}{n}") for key in ("ab" if twins else "a")]
    return made


def loss_of(model: LocalModel, batch: Sequence[Example]) -> Tensor:
    """Mean cross-entropy over all targets of the batch, row by row and without any of the trainer's parts."""
    losses = []
    for example in batch:
        logits = model.base(input_ids=torch.tensor([example.ids])).logits[0]
        places = torch.tensor(example.mask).nonzero().flatten()
        losses.append(cross_entropy(logits[places - 1], torch.tensor(example.ids)[places], reduction="none"))
    return torch.cat(losses).mean()


def test_a_token_counts_as_often_as_its_mask_says(tiny_tokenizer: Any) -> None:
    model = tiny_local_model(tiny_tokenizer)
    trainee = Policy.full_weights(model, None)
    plain = examples(4, twins=True)
    random = Random(0)
    heavy = [replace(e, mask=[m * random.randint(1, 5) for m in e.mask]) for e in plain]
    losses, weights = [], []
    for example in heavy:
        logits = model.base(input_ids=torch.tensor([example.ids])).logits[0]
        losses.append(cross_entropy(logits[:-1], torch.tensor(example.ids)[1:], reduction="none"))
        weights.append(torch.tensor(example.mask[1:]))
    expected = (torch.cat(losses) * torch.cat(weights)).sum() / torch.cat(weights).sum()
    with torch.no_grad():
        for budget in (16, 10**6):  # however they are cut
            assert sum(map(float, _losses(trainee, heavy, budget))) == pytest.approx(float(expected), rel=1e-5)
        assert sum(map(float, _losses(trainee, plain, 10**6))) != pytest.approx(float(expected), rel=1e-3)


def new_adapter(tokenizer: Any, rank: int = 8) -> LocalModel:
    torch.manual_seed(0)  # A of a new adapter is random
    model = tiny_local_model(tokenizer)
    model.add_adapter("policy", rank=rank)
    return model


def test_a_tiny_model_learns_twenty_examples_by_heart(tiny_tokenizer: Any) -> None:
    model = new_adapter(tiny_tokenizer)
    base = {k: v.clone() for k, v in model.base.named_parameters() if "lora_" not in k}
    batch = examples(20, twins=True)  # who is held out has a twin in training: learning by heart is enough
    with torch.no_grad():
        before = float(loss_of(model, batch))
    rows: list[dict[str, float]] = []
    result = train_sft(Policy(model), batch, QUICK, rows.append)
    with torch.no_grad():
        after = float(loss_of(model, batch))
    assert after < before / 5
    assert result.stopped == "finished"
    assert result.steps == rows[-1]["step"] == rows[-1]["total"] == 30 * math.ceil(32 / 10)
    assert [row["step"] for row in rows] == list(range(1, result.steps + 1))
    assert sum("validation_loss" in row for row in rows) == 6
    assert result.train_loss < before / 5
    assert all(torch.equal(base[k], v) for k, v in model.base.named_parameters() if "lora_" not in k)
    assert not any(p.requires_grad for p in model.base.parameters())  # it is left ready to speak


def misleading() -> list[Example]:
    """Examples whose held-out ones (share .2, seed 0) agree with the others on four targets and not on the fifth."""
    keys = [Example([], [], str(n)) for n in range(20)]
    held_out = {e.key for e in split_by_key(keys, 0.2, 0)[1]}
    return [
        Example([5, int(e.key) + 100, 11, 12, 13, 14, 250 if e.key in held_out else 15], [0, 0, 1, 1, 1, 1, 1], e.key)
        for e in keys
    ]


def test_the_weights_of_the_best_validation_loss_are_the_ones_that_stay(tiny_tokenizer: Any) -> None:
    model = new_adapter(tiny_tokenizer)
    batch = misleading()
    rows: list[dict[str, float]] = []
    settings = replace(QUICK, evaluations=30, learning_rate=5e-3)
    result = train_sft(Policy(model), batch, settings, rows.append)
    seen = [row["validation_loss"] for row in rows if "validation_loss" in row]
    assert result.best_validation_loss == min(seen) < min(seen[0], seen[-1]) - 0.02  # it falls and then rises
    assert result.validation_loss == seen[-1]
    with torch.no_grad():
        found = float(loss_of(model, split_by_key(batch, 0.2, 0)[1]))
    assert found == pytest.approx(min(seen), abs=1e-4)


def test_training_stops_after_evaluations_without_a_gain(tiny_tokenizer: Any) -> None:
    rows: list[dict[str, float]] = []
    settings = replace(QUICK, evaluations=60, patience=3, learning_rate=5e-3)
    result = train_sft(Policy(new_adapter(tiny_tokenizer)), misleading(), settings, rows.append)
    seen = [row["validation_loss"] for row in rows if "validation_loss" in row]
    assert result.stopped == "validation loss rose"
    assert result.steps < rows[0]["total"]
    assert min(seen) == seen[-4] == result.best_validation_loss


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tiny_tokenizer: Any) -> None:
    def trained(seed: int) -> dict[str, Tensor]:
        model = new_adapter(tiny_tokenizer)
        train_sft(Policy(model), examples(20, twins=True), replace(QUICK, epochs=2, seed=seed))
        return model.adapter_state("policy")

    one, again, other = trained(1), trained(1), trained(2)
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_all_weights_can_be_tuned_and_saved_as_a_model(tiny_tokenizer: Any, tmp_path: Path) -> None:
    model = tiny_local_model(tiny_tokenizer)
    trainee = Policy.full_weights(model, None)
    before = trainee.state()
    rows: list[dict[str, float]] = []
    train_sft(trainee, examples(20, twins=True), replace(QUICK, epochs=6, learning_rate=2e-3), rows.append)
    assert rows[-1]["loss"] < rows[0]["loss"] - 1
    changed = [key for key, value in trainee.state().items() if not torch.equal(value, before[key])]
    assert len(changed) == len(before)  # every one, embeddings and norms too
    assert not any(p.requires_grad for p in model.base.parameters())
    trainee.save(tmp_path / "model")
    again = LocalModel.load(str(tmp_path / "model"), dtype="float32", device="cpu")
    batch = examples(3)
    with torch.no_grad():
        assert float(loss_of(again, batch)) == pytest.approx(float(loss_of(model, batch)), abs=1e-6)


def test_the_learning_rate_falls_with_the_clock_where_that_ends_the_run(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(10**6))
    monkeypatch.setattr(sft.time, "perf_counter", lambda: float(next(now)))  # each look at it takes a second
    rows: list[dict[str, float]] = []
    settings = replace(QUICK, epochs=50, learning_rate=1e-3, max_seconds=60.0)
    result = train_sft(Policy(new_adapter(tiny_tokenizer)), examples(20, twins=True), settings, rows.append)
    assert (result.stopped, result.steps < rows[0]["total"] / 2) == ("time", True)
    rates = [row["learning_rate"] for row in rows]
    assert max(rates) > 0.9e-3
    assert rates[-1] < 1e-5
    assert [_progress(3, 10, seconds, 100.0) for seconds in (0.0, 24.0, 50.0, 200.0)] == [0.25, 0.25, 0.5, 1.0]
    assert _progress(3, 10, 50.0, None) == _progress(3, 10, 50.0, 0.0) == 0.25


@pytest.mark.parametrize("total", [1, 2, 7, 100])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 1.0])
def test_no_step_is_made_without_a_learning_rate(total: int, warmup: float) -> None:
    shares = [_schedule((step - 0.5) / total, warmup) for step in range(1, total + 1)]
    assert all(0 < share <= 1 for share in shares)
    peak = shares.index(max(shares))
    assert shares[: peak + 1] == sorted(shares[: peak + 1])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)
    if total == 100 and warmup < 1:
        assert shares[-1] < 0.001 < 0.99 < max(shares)
        assert peak == round(100 * warmup)


def test_a_loss_that_is_not_finite_stops_the_run(tiny_tokenizer: Any) -> None:
    model = new_adapter(tiny_tokenizer)
    with torch.no_grad():
        next(iter(model.adapter_parameters("policy").values())).fill_(math.nan)
    with pytest.raises(RunError, match=r"SFT step 1, examples \[.*\.\.\.: the loss is nan") as raised:
        train_sft(Policy(model), examples(10), QUICK)
    assert "\n" not in str(raised.value)


def test_a_validation_loss_that_is_not_finite_stops_the_run(tiny_tokenizer: Any) -> None:
    settings = replace(QUICK, epochs=1, batch_size=99, learning_rate=1e30)  # finite before its only step, not after
    with pytest.raises(RunError, match="SFT step 1: the validation loss is nan"):
        train_sft(Policy(new_adapter(tiny_tokenizer)), examples(10), settings)


@pytest.mark.parametrize("batch", [[], examples(1), [replace(e, key="") for e in examples(9)]])
def test_what_cannot_be_split_is_refused(tiny_tokenizer: Any, batch: list[Example]) -> None:
    keys = len({e.key for e in batch})
    with pytest.raises(RunError, match=f"{len(batch)} examples with {keys} keys are too few"):
        train_sft(Policy(new_adapter(tiny_tokenizer)), batch, QUICK)


@pytest.mark.parametrize("fails", [False, True])
def test_the_precision_of_matrix_products_is_what_it_was_before(tiny_tokenizer: Any, fails: bool) -> None:
    within: list[str] = []

    def report(row: dict[str, float]) -> None:
        within.append(torch.get_float32_matmul_precision())
        if fails:
            raise KeyError

    settings = replace(QUICK, epochs=1, matmul_precision="medium")
    before = torch.get_float32_matmul_precision()
    try:
        train_sft(Policy(new_adapter(tiny_tokenizer)), examples(10), settings, report)
    except KeyError:
        assert fails
    assert set(within) == {"medium"}
    assert torch.get_float32_matmul_precision() == before != "medium"


def gradients(model: LocalModel, batch: Sequence[Example], budget: int) -> tuple[float, dict[str, Tensor]]:
    model.activate("policy", trainable=True)
    model.base.zero_grad(set_to_none=True)
    loss = 0.0
    for part in _losses(Policy(model), batch, budget):
        part.backward()  # type: ignore[no-untyped-call]
        loss += float(part.detach())
    return loss, {k: p.grad.clone() for k, p in model.adapter_parameters("policy").items() if p.grad is not None}


def test_the_gradient_is_that_of_the_whole_batch_however_it_is_cut(tiny_tokenizer: Any) -> None:
    model = tiny_local_model(tiny_tokenizer)
    give_adapter(model, "policy")
    batch = examples(17)
    batch[3] = replace(batch[3], mask=[0] * (len(batch[3].mask) - 1) + [1])  # rows weigh as many tokens as they have
    batch[5] = replace(batch[5], mask=[0] * len(batch[5].mask))
    model.activate("policy", trainable=True)
    whole = loss_of(model, [e for e in batch if any(e.mask)])
    whole.backward()  # type: ignore[no-untyped-call]
    expected = {k: p.grad.clone() for k, p in model.adapter_parameters("policy").items() if p.grad is not None}
    assert len(expected) == len(model.adapter_parameters("policy"))
    for budget in (1, 40, 100, 10_000):
        loss, found = gradients(model, batch, budget)
        assert loss == pytest.approx(whole.item(), abs=1e-5)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_what_is_not_masked_as_a_target_is_not_learned(tiny_tokenizer: Any) -> None:
    model = tiny_local_model(tiny_tokenizer)
    give_adapter(model, "policy")
    plain = Example([5, 60, 7, 8, 9, 10, 11], [0, 0, 0, 1, 1, 0, 0])
    loss, found = gradients(model, [plain], 99)
    for ids in ([5, 60, 7, 8, 9, 300, 2], [5, 60, 7, 8, 9, 2, 2]):  # labels that nobody is to learn
        other_loss, other = gradients(model, [replace(plain, ids=ids)], 99)
        assert other_loss == pytest.approx(loss, abs=1e-6)
        torch.testing.assert_close(other, found)
    for changed in (replace(plain, ids=[5, 60, 7, 8, 300, 10, 11]), replace(plain, mask=[0, 0, 0, 1, 1, 1, 0])):
        assert abs(gradients(model, [changed], 99)[0] - loss) > 1e-3


@given(st.lists(st.integers(0, 12), min_size=2, max_size=60), st.floats(0.01, 0.6), st.integers(0, 5))
def test_examples_of_one_key_are_on_one_side(keys: list[int], share: float, seed: int) -> None:
    batch = [Example([n], [0], str(key)) for n, key in enumerate(keys)]
    training, validation = split_by_key(batch, share, seed)
    assert not {e.key for e in training} & {e.key for e in validation}
    assert sorted([*training, *validation], key=lambda e: e.ids) == batch
    distinct = len(set(keys))
    assert len({e.key for e in validation}) == max(1, round(share * distinct))
    assert split_by_key(batch[::-1], share, seed)[1] == validation[::-1]  # the order of the examples decides nothing


def test_another_seed_holds_out_other_keys() -> None:
    held_out = {tuple(e.key for e in split_by_key(examples(20), 0.2, seed)[1]) for seed in range(5)}
    assert len(held_out) > 1
