"""Log-probs of given tokens: the same with and without the head's short cut, for pads and chunks of any kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import give_adapter, tiny_llama
from torch import Tensor

from zerosearch.learning.batches import MicroBatch
from zerosearch.learning.logprobs import EntropyUse, Sampled, head_is_plain, keep, scatter, token_logprobs
from zerosearch.models.local import LocalModel
from zerosearch.models.sampling import truncate

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}


def other_model(name: str, **settings: Any) -> Any:
    import transformers

    torch.manual_seed(4)
    config = getattr(transformers, f"{name}Config")(**SHAPE, **settings)
    return getattr(transformers, f"{name}ForCausalLM")(config).eval().requires_grad_(False)


MODELS: dict[str, tuple[bool, Callable[[], Any]]] = {
    "llama": (True, lambda: tiny_llama(97)),
    "llama, untied": (True, lambda: tiny_llama(97, tie_word_embeddings=False)),
    "granite": (False, lambda: other_model("Granite", logits_scaling=8.0)),
    "gemma 2": (False, lambda: other_model("Gemma2", head_dim=8, final_logit_softcapping=3.0)),
    "cohere": (False, lambda: other_model("Cohere", logit_scale=0.5)),
}


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 97, (3, 14), generator=generator)
    mask = torch.randint(0, 2, (3, 14), generator=generator)
    mask[:, 0] = 0
    mask[1, 9:] = 0  # pads
    mask[2] = 0  # a row without a target
    return ids, mask


def backward(value: Tensor) -> None:
    value.backward()  # type: ignore[no-untyped-call]


def rows(ids: Tensor, mask: Tensor) -> MicroBatch:
    return MicroBatch(tuple(range(len(ids))), ids, mask)


def straight(model: Any, ids: Tensor, mask: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Log-probs and entropies, token by token from a forward of each row alone and the whole softmax."""
    logprobs, entropies = [], []
    for row in range(len(ids)):
        places = mask[row].nonzero().flatten().tolist()
        if not places:
            continue
        length = places[-1] + 1
        distribution = torch.log_softmax(model(input_ids=ids[row : row + 1, :length]).logits[0] / temperature, dim=-1)
        for place in places:
            logprobs.append(distribution[place - 1, ids[row, place]])
            entropies.append(-(distribution[place - 1].exp() * distribution[place - 1]).sum())
    return torch.stack(logprobs), torch.stack(entropies)


@pytest.mark.parametrize("name", MODELS)
def test_a_head_that_does_more_than_multiply_is_recognised(name: str) -> None:
    plain, make = MODELS[name]
    assert head_is_plain(make()) is plain


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("name", MODELS)
def test_logprobs_and_entropy_are_those_of_the_models_own_logits(
    name: str, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, make = MODELS[name]
    model = make()
    ids, mask = batch()
    logprobs, entropies = straight(model, ids, mask, temperature)
    ways = [token_logprobs(model, rows(ids, mask), Sampled(temperature), entropy="metric", plain_head=plain)]
    monkeypatch.setattr("zerosearch.learning.logprobs.CHUNK", 4)
    ways.append(token_logprobs(model, rows(ids, mask), Sampled(temperature), entropy="metric", plain_head=False))
    for found in ways:
        torch.testing.assert_close(found.logprobs_N, logprobs, rtol=0, atol=2e-5)
        assert found.entropy_N is not None
        torch.testing.assert_close(found.entropy_N, entropies, rtol=0, atol=2e-5)
    if not plain:  # taking the short cut there would be wrong
        wrong = token_logprobs(model, rows(ids, mask), Sampled(temperature), plain_head=True).logprobs_N
        assert (wrong - logprobs).abs().max() > 0.01


TRUNCATIONS = [(0, 0.8), (5, 1.0), (12, 0.5), (200, 0.999), (1, 1.0)]


@pytest.mark.parametrize(("top_k", "top_p"), TRUNCATIONS)
def test_what_the_sampler_keeps_is_what_is_trained_on(top_k: int, top_p: float) -> None:
    torch.manual_seed(1)
    logits = 3 * torch.randn(40, 97)
    likeliest, unlikeliest = logits.argmax(dim=1), logits.argmin(dim=1)
    expected = torch.stack([truncate(row, top_k, top_p) for row in logits])
    assert torch.equal(keep(logits, likeliest, top_k, top_p), expected)
    beside = keep(logits, unlikeliest, top_k, top_p)  # a sampled token is never impossible
    assert torch.isfinite(beside.gather(1, unlikeliest.unsqueeze(1))).all()
    others = [found.scatter(1, unlikeliest.unsqueeze(1), 0.0) for found in (beside, expected)]
    assert torch.equal(*others)


@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.8), (5, 1.0), (12, 0.97)])
def test_the_score_has_mean_0_under_the_truncated_sampler(top_k: int, top_p: float) -> None:
    """The exact expectation of d log p(token) over all tokens that can be sampled after one prefix."""
    model = tiny_llama(97).requires_grad_(True)
    prefix = torch.tensor([[3, 14, 15]])
    with torch.no_grad():
        kept = truncate(model(input_ids=prefix).logits[0, -1].float(), top_k, top_p)
    chances = torch.softmax(kept, dim=0)
    tokens = chances.nonzero().squeeze(1)
    ids = torch.cat([prefix.expand(len(tokens), -1), tokens.unsqueeze(1)], dim=1)
    mask = torch.zeros_like(ids)
    mask[:, -1] = 1

    def mean_score(sampled: Sampled) -> float:
        model.zero_grad()
        found = token_logprobs(model, rows(ids, mask), sampled)
        (found.logprobs_N * chances[tokens]).sum().backward()  # type: ignore[no-untyped-call]
        return float(sum(p.grad.square().sum() for p in model.parameters() if p.grad is not None)) ** 0.5

    assert 1 < len(tokens) < 97
    assert mean_score(Sampled(1.0, top_k, top_p)) < 1e-4
    assert mean_score(Sampled()) > 1e-2  # weight would move to the kept tokens, whatever was earned
    found = token_logprobs(model, rows(ids, mask), Sampled(1.0, top_k, top_p), entropy="metric")
    torch.testing.assert_close(found.logprobs_N, chances[tokens].log(), rtol=0, atol=1e-5)
    assert found.entropy_N is not None
    entropy = float(-(chances[tokens] * chances[tokens].log()).sum())
    assert found.entropy_N.tolist() == pytest.approx([entropy] * len(tokens), abs=1e-4)


def test_with_an_adapter_too(tiny_model: LocalModel) -> None:
    assert head_is_plain(tiny_model.base)
    give_adapter(tiny_model, "policy")
    assert head_is_plain(tiny_model.base)
    ids, mask = batch()
    found = token_logprobs(tiny_model.base, rows(ids, mask)).logprobs_N
    torch.testing.assert_close(found, straight(tiny_model.base, ids, mask, 1.0)[0], rtol=0, atol=2e-5)
    with tiny_model.speaking_as(None):
        assert (token_logprobs(tiny_model.base, rows(ids, mask)).logprobs_N - found).abs().max() > 0.01


@pytest.mark.parametrize("plain", [True, False])
def test_chunks_change_neither_values_nor_gradients(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, mask = batch()
    found = []
    for chunk in (3, 2048):
        monkeypatch.setattr("zerosearch.learning.logprobs.CHUNK", chunk)
        model = tiny_llama(97).requires_grad_(True)
        out = token_logprobs(model, rows(ids, mask), Sampled(0.7), entropy="loss", plain_head=plain)
        assert out.entropy_N is not None
        backward(out.logprobs_N.sum() + 0.3 * out.entropy_N.sum())
        found.append((out.logprobs_N.detach(), model.model.layers[0].mlp.up_proj.weight.grad))
    torch.testing.assert_close(found[0], found[1])
    model = tiny_llama(97).requires_grad_(True)
    logprobs, entropies = straight(model, ids, mask, 0.7)
    backward(logprobs.sum() + 0.3 * entropies.sum())
    torch.testing.assert_close(found[0][1], model.model.layers[0].mlp.up_proj.weight.grad, rtol=1e-3, atol=1e-5)


def test_entropy_as_a_metric_has_no_gradient() -> None:
    ids, mask = batch()
    model = tiny_llama(97).requires_grad_(True)
    none, metric, loss = (token_logprobs(model, rows(ids, mask), entropy=use).entropy_N for use in get_args(EntropyUse))
    assert none is None
    assert metric is not None
    assert loss is not None
    assert (metric.requires_grad, loss.requires_grad) == (False, True)
    torch.testing.assert_close(metric, loss.detach())


def test_pads_have_no_influence_even_with_the_id_of_a_real_token() -> None:
    model = tiny_llama(97)
    ids, mask = batch()
    before = token_logprobs(model, rows(ids, mask)).logprobs_N
    for filler in (0, 2, 50):
        changed = ids.clone()
        changed[1, 9:] = filler
        changed[2] = filler
        torch.testing.assert_close(token_logprobs(model, rows(changed, mask)).logprobs_N, before)
    wider = torch.nn.functional.pad(ids, (0, 20)), torch.nn.functional.pad(mask, (0, 20))
    torch.testing.assert_close(token_logprobs(model, rows(*wider)).logprobs_N, before, rtol=0, atol=1e-5)


def test_a_target_with_nothing_before_it_is_an_error() -> None:
    ids, mask = batch()
    mask[1, 0] = 1
    with pytest.raises(ValueError, match="nothing before it"):
        token_logprobs(tiny_llama(97), rows(ids, mask))


def test_a_batch_without_targets_gives_nothing_and_can_still_be_differentiated() -> None:
    ids, mask = batch()
    model = tiny_llama(97).requires_grad_(True)
    out = token_logprobs(model, rows(ids, torch.zeros_like(mask)), entropy="loss")
    assert out.logprobs_N.shape == (0,)
    backward(out.logprobs_N.sum())
    assert not model.model.layers[0].mlp.up_proj.weight.grad.any()


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_scatter_is_the_inverse_of_masking(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.randint(0, 2, (rows, columns), generator=generator)
    values = 1.0 + torch.rand(int(mask.sum()), generator=generator)
    scattered = scatter(values, mask)
    assert scattered.shape == mask.shape
    assert torch.equal(scattered[mask.bool()], values)
    assert not scattered[~mask.bool()].any()
