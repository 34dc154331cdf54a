"""Gradient checkpointing with everything that a forward pass sets for its own time: the same gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny import tiny_local_model

from zerosearch.learning.batches import Sequences, micro_batches
from zerosearch.learning.logprobs import Sampled
from zerosearch.learning.policy import Policy, recompute_layers
from zerosearch.models.local import LocalModel

IDS = [[5, 6, 7, 8, 9], [5, 6, 7, 9, 8, 7, 6], [11, 12, 13]]
MASKS = [[0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 1, 1], [0, 1, 1]]


def gradients(model: LocalModel, *, full: bool, packed: bool, checkpointing: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    policy = Policy.full_weights(model, None) if full else Policy.lora(model, None, rank=4, alpha=8.0)
    assert policy.packs
    if checkpointing:
        recompute_layers(model, full=full)
    runs: list[int] = []
    model.base.model.layers[0].mlp.register_forward_pre_hook(lambda *_: runs.append(1))
    policy.train_mode()
    (micro,) = micro_batches(Sequences(IDS, MASKS), 100, model.device, packed=packed)
    policy.logprobs(micro, Sampled()).logprobs_N.sum().backward()  # type: ignore[no-untyped-call]
    assert len(runs) == 1 + checkpointing  # the layer is run again on the way back
    assert model.base.config._attn_implementation == "sdpa"
    return [p.grad.float() for p in policy.parameters().values() if p.grad is not None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_layers_are_recomputed_as_they_were_computed(
    full: bool, packed: bool, dtype: torch.dtype, tiny_tokenizer: Any
) -> None:
    found = []
    for checkpointing in (False, True):
        model = tiny_local_model(tiny_tokenizer)
        model.base.to(dtype)
        found.append(gradients(model, full=full, packed=packed, checkpointing=checkpointing))
    assert len(found[0]) == len(found[1]) > 0
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: norms and rotary embeddings are compiled there")
@pytest.mark.parametrize("full", [False, True])
def test_layers_with_compiled_parts_are_recomputed_as_they_were_computed(full: bool) -> None:
    from zerosearch.learning.bench import random_model

    device, dtype = torch.device("cuda", 0), torch.float32 if full else torch.bfloat16
    found = [
        gradients(random_model("tiny", device, dtype), full=full, packed=True, checkpointing=checkpointing)
        for checkpointing in (False, True)
    ]
    assert all(torch.allclose(a, b, rtol=1e-2, atol=1e-4) for a, b in zip(*found, strict=True))
