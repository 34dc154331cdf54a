"""Copies of a model with an adapter merged in, to sample from: fewer calls a token, which a GPU waits for.

A copy costs memory for the layers that the adapter changes; everything else is shared with the base.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import LoraLayer

from zerosearch.generators.local import LocalModel


class MergedAdapters:
    """Merged copies of `model` by adapter, made when first asked for.

    A copy is computed anew from base and adapter each time it is refreshed, so nothing drifts: in float32 it agrees
    with the unmerged model to rounding. Below float32 the sum is rounded, and sampler and trainer differ by it.
    """

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self._copies: dict[str, Any] = {}
        self._stale: set[str] = set()

    def get(self, adapter: str) -> Any:
        """The model that speaks as `adapter`, up to date."""
        if adapter not in self._copies:
            self._copies[adapter] = self._bare_copy()
            self._stale.add(adapter)
        if adapter in self._stale:
            self._merge(adapter)
            self._stale.discard(adapter)
        return self._copies[adapter]

    def refresh(self, adapter: str) -> None:
        """The adapter's weights have changed: merge again before the next token."""
        self._stale.add(adapter)

    def _bare_copy(self) -> Any:
        """A model of the same shape whose parameters are the base's own, but for those that adapters change."""
        base = self._model.base
        with torch.device("meta"):
            copy = type(base)(base.config)
        own = {name.replace(".base_layer.", "."): p for name, p in base.named_parameters() if "lora_" not in name}
        changed = {f"{name}.weight" for name, module in base.named_modules() if isinstance(module, LoraLayer)}
        for name, _ in list(copy.named_parameters(remove_duplicate=False)):
            source = own[name] if name in own else base.get_output_embeddings().weight  # tied
            value = source.detach().clone() if name in changed else source.detach()
            _put(copy, name, torch.nn.Parameter(value, requires_grad=False))
        buffers = dict(base.named_buffers())
        for name, _ in list(copy.named_buffers()):
            _put(copy, name, buffers[name].detach(), buffer=True)
        copy.generation_config = base.generation_config
        return copy.eval()

    @torch.no_grad()
    def _merge(self, adapter: str) -> None:
        parameters = dict(self._copies[adapter].named_parameters())
        layers: dict[str, Any] = dict(self._model.base.named_modules())
        for name, module in layers.items():
            if isinstance(module, LoraLayer) and adapter in module.lora_A:
                weight = module.get_base_layer().weight
                delta = module.get_delta_weight(adapter)  # type: ignore[attr-defined]  # of its subclasses
                parameters[f"{name}.weight"].copy_(weight + delta.to(weight.dtype))


def _put(model: torch.nn.Module, name: str, value: Any, *, buffer: bool = False) -> None:
    path, _, leaf = name.rpartition(".")
    owner = model.get_submodule(path)
    if buffer:
        owner.register_buffer(leaf, value, persistent=False)
    else:
        setattr(owner, leaf, value)
