"""The mean of several LoRA adapters of one base model.

A "model soup" (Wortsman et al., 2022, arXiv 2203.05482): the mean of the weights of policies that were trained from one
base, such as several seeds. For LoRAs it is exact, as one adapter: their factors A [rank, in] stand below one another,
and their B [out, rank] beside one another, divided by the number of adapters. Its rank is the sum of theirs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from zerosearch.errors import ModelError
from zerosearch.files.jsonl import read_object

_EQUAL = ("r", "lora_alpha")
_UNSET = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
"""With these an adapter is no plain product B A with one scale."""


def mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The factors, in float32, of the mean of the products B A of all `states`. Raises `ModelError`."""
    if any(state.keys() != states[0].keys() for state in states):
        raise ModelError("the adapters do not change the same weights: they have no mean")
    if other := next((key for key in states[0] if not re.search(r"\.lora_[AB]\.", key)), None):
        raise ModelError(f"the adapters hold {other}, which is no factor of a LoRA: they have no mean")
    joined = {key: [state[key].float() for state in states] for key in states[0]}
    return {
        key: torch.cat(factors) if ".lora_A." in key else torch.cat(factors, 1) / len(states)
        for key, factors in joined.items()
    }


def write_mean(adapters: Sequence[tuple[str, Path]], folder: Path) -> None:
    """Write the mean of `adapters`, each with its name, into `folder`. Raises `ModelError` for adapters without one."""
    configs = [(name, read_object(adapter / "adapter_config.json")) for name, adapter in adapters]
    first, like = configs[0]
    for name, config in configs:
        for key in _EQUAL:
            if config.get(key) != like.get(key):
                raise ModelError(f"{key} of {first} is {like.get(key)}, of {name} {config.get(key)}: no mean is made")
        if kinds := [key for key in _UNSET if config.get(key)]:
            raise ModelError(f"{name} has {', '.join(kinds)}: no mean of such adapters is made")
    found = mean([load_file(adapter / "adapter_model.safetensors") for _, adapter in adapters])
    save_file(found, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    grown = {key: len(adapters) * like[key] for key in _EQUAL}
    (folder / "adapter_config.json").write_text(json.dumps(like | grown, indent=2) + "\n", encoding="utf-8")
