"""A local model's weights and adapters in the form in which vLLM takes them, from memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from zerosearch.errors import ModelError
from zerosearch.models.cards import GIB
from zerosearch.models.local import LocalModel
from zerosearch.models.merged import rounded

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The ranks that vLLM has kernels for; others take the next one."""
_LEAST_TOKENS = 2048


def sampling_dtype(model: LocalModel) -> torch.dtype:
    """What vLLM computes in: the model's number format, or bfloat16 where that is wider."""
    return model.dtype if model.dtype.itemsize == 2 else torch.bfloat16


def base_weights(model: LocalModel) -> Iterator[tuple[str, Tensor]]:
    """Every weight of the model without its adapters, by the name that it has in a checkpoint, to be copied.

    Wider weights are rounded by chance, as `merged.py` does it: an update of 1e-6 is then heard.
    """
    dtype = sampling_dtype(model)
    for name, parameter in model.base.named_parameters(remove_duplicate=False):
        if "lora_" not in name:
            bare = ".".join(part for part in name.split(".") if part != "base_layer")
            yield bare, rounded(parameter.detach(), dtype, bare)


@dataclass(frozen=True)
class AdapterTensors:
    """A LoRA adapter as PEFT names its tensors, its scale already in the B matrices: alpha is the rank."""

    rank: int
    tensors: dict[str, Tensor]


@torch.no_grad()
def adapter_tensors(model: LocalModel, adapter: str) -> AdapterTensors:
    """Raises `ModelError` for what vLLM has no kernels for: biases, embeddings, experts, DoRA, a rank over 512."""
    rank, tensors = 0, dict[str, Tensor]()
    for name, module in model.base.named_modules():
        if not isinstance(module, LoraLayer) or adapter not in (*module.lora_A, *module.lora_embedding_A):
            continue
        a, b = _factors(model, name, module, adapter)
        tensors[f"base_model.model.{name}.lora_A.weight"] = a
        tensors[f"base_model.model.{name}.lora_B.weight"] = b * float(module.scaling[adapter])
        rank = max(rank, len(a))
    fitting_rank(rank, model.name)
    return AdapterTensors(rank, tensors)


def adapter_rank(model: LocalModel, adapter: str) -> int:
    """The largest rank that the adapter has in any layer."""
    return max(
        (int(m.r[adapter]) for m in model.base.modules() if isinstance(m, LoraLayer) and adapter in m.r), default=0
    )


def fitting_rank(rank: int, name: str = "") -> int:
    """The smallest of `RANKS` that holds `rank`; 0 for no adapter. Raises `ModelError` where none does."""
    if rank == 0:
        return 0
    fitting = next((known for known in RANKS if known >= rank), None)
    if fitting is None:
        raise ModelError(f"model {name}: vLLM takes adapters up to rank {RANKS[-1]}, not {rank}; {_NATIVE}")
    return fitting


_NATIVE = "use model.sampler = 'native'"


def _factors(model: LocalModel, name: str, module: Any, adapter: str) -> tuple[Tensor, Tensor]:
    plain = (
        adapter in module.lora_A
        and getattr(module, "parameter_name", "weight") == "weight"
        and not module.lora_bias.get(adapter)
        and adapter not in getattr(module, "lora_variant", {})
    )
    if not plain:
        raise ModelError(f"model {model.name}, adapter {adapter}: vLLM takes no such LoRA layer as {name}; {_NATIVE}")
    a, b = module.lora_A[adapter].weight, module.lora_B[adapter].weight
    return a.detach(), b.detach()


def cache_token_bytes(config: Any) -> int:
    """Bytes that the keys and values of a token take, in 16 bits, by a model's configuration (all layers alike)."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * 2)


@dataclass(frozen=True)
class Memory:
    """How much of a GPU vLLM gets: bytes of its KV cache, the tokens that those hold, and its share of the GPU."""

    cache_bytes: int
    cache_tokens: int
    share: float


def memory_for(*, free: int, total: int, weights: int, token_bytes: int, max_tokens: int, cache_share: float) -> Memory:
    """Room for `max_tokens` tokens of cache, but no more than a part of what is `free` beside the weights' own copy.

    All in bytes but `max_tokens`. Training begins beside it and takes what it leaves. Raises `ModelError` where a cache
    of 2,048 tokens does not fit.
    """
    room = int(cache_share * (free - weights))
    tokens = min(max_tokens, max(room, 0) // token_bytes) // 16 * 16
    if tokens < min(_LEAST_TOKENS, max_tokens):
        raise ModelError(
            f"vLLM needs {weights / GIB:.1f} GiB for its copy of the weights and more for its cache, and the GPU has "
            f"{free / GIB:.1f} GiB free; {_NATIVE}, or a smaller model"
        )
    cache = tokens * token_bytes
    return Memory(cache, tokens, min(weights + cache, int(0.95 * free)) / total)
