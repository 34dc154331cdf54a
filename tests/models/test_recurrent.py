"""Models whose cache keeps a running state: the same texts in any batch, with the log-probs of the whole model."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import transformers
from tiny import decode_batch

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.errors import ModelError
from zerosearch.models import decoding
from zerosearch.models.paged import cache_argument

SHAPE: dict[str, Any] = {
    "vocab_size": 420,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "initializer_range": 0.2,
}
ATTENTION = {"intermediate_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
LINEAR = {
    f"linear_{part}": n
    for part, n in (("num_key_heads", 2), ("num_value_heads", 2), ("key_head_dim", 8), ("value_head_dim", 8))
}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16}
KINDS: dict[str, dict[str, Any]] = {
    "Qwen3Next": ATTENTION | LINEAR | EXPERTS | {
        "shared_expert_intermediate_size": 16, "mlp_only_layers": [0, 1], "head_dim": 12,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "Lfm2": ATTENTION | {"layer_types": ["conv", "full_attention"]},
    "FalconH1": ATTENTION | {
        "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1,
        "mamba_chunk_size": 8,
    },
    "Mamba": {"state_size": 8},
    "RecurrentGemma": ATTENTION | {"num_hidden_layers": 3, "lru_width": 48, "attention_window_size": 16},
}  # fmt: skip
PROMPT = [10, 20, 30, 40, 50, 60, 70, 80]
PROMPTS = [[*PROMPT, 90], [*PROMPT, 90], [*PROMPT, *range(100, 140)], [*PROMPT, 7, 8, 9]]


def build(kind: str) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**SHAPE | KINDS[kind])
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_says_what_each_prompt_says_alone(
    kind: str, tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts that begin alike, two of them equal, rows that leave early: all that a running state cannot follow."""
    monkeypatch.setattr(decoding, "PREFILL_TOKENS", 32)
    model = build(kind)

    def decode(prompts: list[list[int]], sampling: list[Sampling], **more: Any) -> list[Generation]:
        return decode_batch(model, prompts, sampling, tokenizer=tiny_tokenizer, eos_ids=frozenset(), **more)

    sampling = [Sampling(temperature=1.0, max_tokens=n, seed=i) for i, n in enumerate((3, 7, 3, 3))]
    told: dict[int, list[int]] = {i: [] for i in range(len(PROMPTS))}
    batch = decode(PROMPTS, sampling, on_token=lambda row, token: told[row].append(token))
    for i, (prompt, generation) in enumerate(zip(PROMPTS, batch, strict=True)):
        assert generation.token_ids == decode([prompt], [sampling[i]])[0].token_ids == told[i]
        ids = torch.tensor([prompt + generation.token_ids])
        logprobs = model(input_ids=ids, use_cache=False).logits[0, :-1].log_softmax(-1)
        own = logprobs.gather(1, ids[0, 1:, None])[len(prompt) - 1 :, 0]
        torch.testing.assert_close(own, torch.tensor(generation.logprobs), atol=1e-4, rtol=0)


def test_a_model_that_leaves_its_cache_empty_is_refused(tiny_tokenizer: Any) -> None:
    """Every token after the first would be sampled as if nothing stood before it."""
    warnings.simplefilter("ignore")
    model = transformers.RwkvForCausalLM(
        transformers.RwkvConfig(vocab_size=420, hidden_size=32, attention_hidden_size=32, num_hidden_layers=2)
    ).eval()
    with pytest.raises(ModelError, match="leaves its cache empty"):
        decode_batch(model, [PROMPT], [Sampling(max_tokens=3)], tokenizer=tiny_tokenizer, eos_ids=frozenset())


@pytest.mark.parametrize("name", ["past_key_values", "cache", "cache_params"])
def test_a_model_is_given_its_cache_by_its_own_name(name: str) -> None:
    names: dict[str, Any] = {}
    exec(f"def forward(self, input_ids, {name}=None, **rest): ...", names)
    model = type("Model", (), {"forward": names["forward"]})()
    adapted = type("Adapted", (), {"forward": lambda self, *args, **rest: ..., "get_base_model": lambda self: model})()
    assert cache_argument(model) == cache_argument(adapted) == name
