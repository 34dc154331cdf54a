"""Copies of a model with a merged adapter, for sampling: fewer kernels for each token.

A copy costs memory for the layers that the adapter changes; everything else is shared with the base.

A checkpoint in bfloat16 has its weights on bfloat16's grid. An update smaller than half a step of the grid, rounded to
the nearest, is lost in *every* weight: a sampler merged so hears nearly nothing of the first steps of a run. So sums
are rounded up or down by chance, an update of a tenth of a step moving a tenth of the weights (stochastic rounding;
Gupta et al. 2015, https://arxiv.org/abs/1502.02551): over the many weights of a product it is then whole on average.
The chance is the same number for a weight at every merge, so an adapter is always merged into the same weights.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor

from zerosearch.episodes.seeds import derive_seed
from zerosearch.models.fused import fuse_norms
from zerosearch.models.local import LocalModel
from zerosearch.models.phases import phase

_MANTISSA = {torch.bfloat16: 7, torch.float16: 10}
_TF32_MANTISSA = 10
_FLOAT32_MANTISSA = 23


class MergedAdapters:
    """Merged copies of `model` by adapter, made when first asked for.

    A copy is computed anew from base and adapter each time it is refreshed, so nothing drifts. Base and update are
    added in float32 and rounded once. In float32 a copy agrees with the unmerged model to rounding; below, sampler and
    trainer differ by the number format.
    """

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self._copies: dict[str | None, Any] = {}
        self._stale: set[str] = set()

    def get(self, adapter: str | None) -> Any:
        """The model that speaks as `adapter`, up to date. None: the base without adapters, which shares all weights."""
        if adapter not in self._copies:
            self._copies[adapter] = self._bare_copy(changed=adapter is not None)
            if self._model.device.type == "cuda":
                fuse_norms(self._copies[adapter])
            if adapter is not None:
                self._stale.add(adapter)
        if adapter is not None and adapter in self._stale:
            self._merge(adapter)
            self._stale.discard(adapter)
        return self._copies[adapter]

    def refresh(self, adapter: str) -> None:
        """The adapter's weights have changed: merge again before the next token."""
        self._stale.add(adapter)

    def _bare_copy(self, *, changed: bool) -> Any:
        """A model whose parameters are the base's own; `changed`: but for those that adapters change."""
        base = self._model.base
        with torch.device("meta"):
            copy = type(base)(base.config)
        own = {_bare(name): p.detach() for name, p in base.named_parameters() if "lora_" not in name}
        layers = [(name, module) for name, module in base.named_modules() if isinstance(module, LoraLayer)]
        own_copy = {target for name, module in layers for target in _targets(name, module)} if changed else set()
        for name, _ in list(copy.named_parameters(remove_duplicate=False)):
            source = own[name] if name in own else base.get_output_embeddings().weight.detach()  # tied
            value = source.clone() if name in own_copy else source
            _put(copy, name, torch.nn.Parameter(value, requires_grad=False))
        for name in own_copy - own.keys():  # a bias where the base has none
            weight = own[name.removesuffix("bias") + "weight"]
            _put(copy, name, torch.nn.Parameter(weight.new_zeros(len(weight)), requires_grad=False))
        buffers = dict(base.named_buffers())
        for name, _ in list(copy.named_buffers()):
            _put(copy, name, buffers[name].detach(), buffer=True)
        copy.generation_config = base.generation_config
        return copy.eval()

    @phase("sync", gpu=True)
    @torch.no_grad()
    def _merge(self, adapter: str) -> None:
        parameters = dict(self._copies[adapter].named_parameters())
        layers: dict[str, Any] = dict(self._model.base.named_modules())
        for name, module in layers.items():
            if not isinstance(module, LoraLayer) or adapter not in (*module.lora_A, *module.lora_embedding_A):
                continue
            base = module.get_base_layer()
            target, *bias = _targets(name, module, adapter)
            weight = getattr(base, target.rpartition(".")[2])
            delta = module.get_delta_weight(adapter)  # type: ignore[attr-defined]  # of its subclasses
            parameters[target].copy_(as_multiplied(weight.float() + delta.float(), weight, target))
            if bias:
                added = module.lora_B[adapter].bias * module.scaling[adapter]
                parameters[bias[0]].copy_(added if base.bias is None else base.bias.float() + added.float())


def dithered(values: Tensor, mantissa: int, seed: int) -> Tensor:
    """Float32 `values` rounded to `mantissa` bits, up or down by chance, so that the mean stays what it was.

    What needs no more bits is left as it is. The chances follow from `seed`, for each device type its own.
    """
    dropped = _FLOAT32_MANTISSA - mantissa
    generator = torch.Generator(device=values.device).manual_seed(seed)
    chance = torch.randint(0, 2**dropped, values.shape, dtype=torch.int32, device=values.device, generator=generator)
    rounded: Tensor = (values.contiguous().view(torch.int32).add(chance) & -(2**dropped)).view(torch.float32)
    return rounded


def rounded(weight: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """`weight` in `dtype`, a narrower one by chance; the chances follow from the weight's `name`."""
    if weight.dtype != torch.float32 or dtype not in _MANTISSA:
        return weight.to(dtype)
    return dithered(weight, _MANTISSA[dtype], derive_seed("merge", name)).to(dtype)


def as_multiplied(values: Tensor, weight: Tensor, name: str) -> Tensor:
    """Float32 `values` that take the place of `weight`, rounded by chance where products use fewer bits of it."""
    kept = _mantissa(weight)
    return values if kept is None else dithered(values, kept, derive_seed("merge", name))


def _mantissa(weight: Tensor) -> int | None:
    """The bits of mantissa with which products use a weight; None where they use all of float32's."""
    if weight.dtype == torch.float32 and weight.device.type == "cuda":
        return _TF32_MANTISSA if torch.get_float32_matmul_precision() != "highest" else None
    return _MANTISSA.get(weight.dtype)


def _bare(name: str) -> str:
    """A parameter's name in the model without adapters."""
    return ".".join(part for part in name.split(".") if part != "base_layer")


def _targets(name: str, module: Any, adapter: str | None = None) -> tuple[str, ...]:
    """Which parameters of the bare model a LoRA layer changes: a weight (or a tensor of experts), perhaps a bias."""
    weight = getattr(module, "parameter_name", "weight")
    biased = module.lora_bias.get(adapter) if adapter else any(module.lora_bias.values())
    return tuple(f"{_bare(name)}.{leaf}" for leaf in (weight, *(("bias",) if biased else ())))


def _put(model: torch.nn.Module, name: str, value: Any, *, buffer: bool = False) -> None:
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    if buffer:
        owner.register_buffer(leaf, value, persistent=False)
    else:
        setattr(owner, leaf, value)
