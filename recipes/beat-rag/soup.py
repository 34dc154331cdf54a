"""The mean of several LoRA adapters of one base model: python soup.py OUT RUN_OR_ADAPTER RUN_OR_ADAPTER...

A "model soup" (Wortsman et al., 2022, arXiv 2203.05482): the mean of the weights of policies that were trained from one
base. For LoRAs it is exact, as one adapter: their factors A [rank, in] stand below one another, and their B [out, rank]
beside one another, divided by the number of adapters. Its rank is the sum of theirs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from script import arguments, run
from torch import Tensor

from zerosearch.errors import ModelError
from zerosearch.exporting import find_trained
from zerosearch.files.jsonl import read_object

EQUAL = ("base_model_name_or_path", "r", "lora_alpha")
UNSET = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
"""With these an adapter is no plain product B A with one scale."""


def mean(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The factors, in float32, of the mean of the products B A of all `states`."""
    if any(state.keys() != states[0].keys() for state in states):
        raise ModelError("the adapters do not change the same weights")
    if other := next((key for key in states[0] if not re.search(r"\.lora_[AB]\.", key)), None):
        raise ModelError(f"the adapters hold {other}, which is no factor of a LoRA")
    joined = {key: [state[key].float() for state in states] for key in states[0]}
    return {
        key: torch.cat(factors) if ".lora_A." in key else torch.cat(factors, 1) / len(states)
        for key, factors in joined.items()
    }


def main() -> None:
    out, *sources = arguments(__doc__, 3, more=True)
    adapters: list[Path] = []
    for source in sources:
        adapter = find_trained(source).adapter
        if adapter is None:
            raise ModelError(f"{source} trained all weights and has no adapter")
        adapters.append(adapter)
    configs = [read_object(adapter / "adapter_config.json") for adapter in adapters]
    for source, config in zip(sources, configs, strict=True):
        for name in EQUAL:
            if config.get(name) != configs[0].get(name):
                raise ModelError(f"{name} of {sources[0]} is {configs[0].get(name)}, of {source} {config.get(name)}")
        if kinds := [name for name in UNSET if config.get(name)]:
            raise ModelError(f"{source} has {', '.join(kinds)}: the mean of such adapters is not made here")
    found = mean([load_file(adapter / "adapter_model.safetensors") for adapter in adapters])
    config = configs[0] | {name: len(adapters) * configs[0][name] for name in ("r", "lora_alpha")}
    folder = Path(out)
    folder.mkdir(parents=True)
    save_file(found, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    print(f"{out}: the mean of {len(adapters)} adapters, rank {config['r']}")


if __name__ == "__main__":
    run(main)
