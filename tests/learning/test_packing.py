"""Packed rows are the padded ones: the same log-probs and gradients, each prompt once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_llama

from zerosearch.learning import packing as packing_module
from zerosearch.learning.batches import Sequences, micro_batches
from zerosearch.learning.logprobs import token_logprobs
from zerosearch.learning.packing import can_pack, pack

rows_strategy = st.lists(
    st.tuples(
        st.sampled_from([(1,), (1, 2), (1, 2, 3, 4, 5)]),  # few prompts, one the beginning of another
        st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=8,
)


def sequences_of(rows: Any) -> Sequences:
    ids = [[*prompt, *(token for token, _ in rest)] for prompt, rest in rows]
    masks = [[0] * len(prompt) + [1] + [int(own) for _, own in rest[1:]] for prompt, rest in rows]
    return Sequences(ids, masks)


@settings(max_examples=40, deadline=None)
@given(rows_strategy, st.integers(8, 60))
def test_log_probs_and_gradients_are_those_of_padded_rows(rows: Any, budget: int) -> None:
    sequences = sequences_of(rows)
    model = tiny_llama(20).double().requires_grad_(True)
    found: dict[bool, dict[int, list[float]]] = {False: {}, True: {}}
    gradients = []
    for packed in (False, True):
        model.zero_grad()
        batches = micro_batches(sequences, budget, packed=packed)
        assert sorted(row for batch in batches for row in batch.rows) == list(range(len(rows)))
        for batch in batches:
            out = token_logprobs(model, batch)
            counts = [sum(sequences.mask[row]) for row in batch.rows]
            for row, part in zip(batch.rows, out.logprobs_N.split(counts), strict=True):
                found[packed][row] = part.tolist()
                (part * (row + 1)).sum().backward(retain_graph=True)
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    for row, logprobs in found[False].items():
        assert found[True][row] == pytest.approx(logprobs, abs=1e-9)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-8, rtol=1e-6)


def test_a_shared_prompt_is_computed_once() -> None:
    packing = pack([[1, 2, 3, 4], [1, 2, 3, 5, 6], [7, 8]], [[0, 0, 0, 1], [0, 0, 0, 1, 1], [0, 1]])
    assert packing.ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert packing.positions.tolist() == [0, 1, 2, 3, 3, 4, 0, 1]
    assert packing.predictors.tolist() == [2, 2, 4, 6]
    assert packing.targets.tolist() == [4, 5, 6, 8]


@settings(max_examples=60, deadline=None)
@given(rows_strategy, st.integers(8, 60))
def test_packed_batches_keep_to_the_budget(rows: Any, budget: int) -> None:
    sequences = sequences_of(rows)
    for batch in micro_batches(sequences, budget, packed=True):
        assert batch.packing is not None
        assert len(batch.packing.ids) <= max(budget, max(map(len, sequences.ids)))


@pytest.mark.parametrize(("settings", "packs"), [({}, True), ({"attn_implementation": "eager"}, False)])
def test_a_model_is_packed_where_that_changes_nothing(settings: dict[str, Any], packs: bool) -> None:
    assert can_pack(tiny_llama(20, **settings)) is packs


def test_float32_weights_attend_in_the_format_that_autocast_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flash attention takes 16 bits alone. Without it an update of 320 episodes took 36 seconds instead of 4."""
    attend, seen = packing_module.scaled_dot_product_attention, set()

    def watched(*args: Any, **kwargs: Any) -> torch.Tensor:
        seen.update(x.dtype for x in args[:3])
        out: torch.Tensor = attend(*args, **kwargs)
        return out

    monkeypatch.setattr(packing_module, "scaled_dot_product_attention", watched)
    (batch,) = micro_batches(Sequences([[1, 2, 3, 4], [1, 2, 3, 5]], [[0, 0, 0, 1]] * 2), 60, packed=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        token_logprobs(tiny_llama(20), batch)
    assert seen == {torch.bfloat16}
