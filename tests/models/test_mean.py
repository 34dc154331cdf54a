"""The mean of adapters: of their products, not of their factors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from zerosearch.errors import ModelError
from zerosearch.models.mean import write_mean

KEY = "base_model.model.model.layers.0.mlp.up_proj.lora_{}.weight"


def write_adapter(folder: Path, seed: int, **changed: Any) -> Path:
    folder.mkdir()
    torch.manual_seed(seed)
    save_file(
        {KEY.format("A"): torch.randn(2, 6), KEY.format("B"): torch.randn(5, 2)}, folder / "adapter_model.safetensors"
    )
    config = {"peft_type": "LORA", "base_model_name_or_path": "some/base", "r": 2, "lora_alpha": 32.0} | changed
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def change(folder: Path) -> torch.Tensor:
    """What an adapter adds to the weight."""
    factors = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    return config["lora_alpha"] / config["r"] * factors[KEY.format("B")] @ factors[KEY.format("A")]


def mean_of(tmp_path: Path, *adapters: Path) -> Path:
    folder = tmp_path / "mean"
    folder.mkdir()
    write_mean([(adapter.name, adapter) for adapter in adapters], folder)
    return folder


def test_what_the_mean_adds_to_a_weight_is_the_mean_of_what_they_add(tmp_path: Path) -> None:
    adapters = [write_adapter(tmp_path / f"a{seed}", seed) for seed in range(3)]
    folder = mean_of(tmp_path, *adapters)
    torch.testing.assert_close(change(folder), sum(map(change, adapters)) / 3)
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 6


def test_adapters_of_another_scale_are_refused(tmp_path: Path) -> None:
    one, other = write_adapter(tmp_path / "one", 0), write_adapter(tmp_path / "other", 1, lora_alpha=8.0)
    with pytest.raises(ModelError, match=r"^lora_alpha of one is 32\.0, of other 8\.0: no mean is made$"):
        mean_of(tmp_path, one, other)
    assert not any((tmp_path / "mean").iterdir())


@pytest.mark.parametrize("setting", [{"use_rslora": True}, {"rank_pattern": {"up_proj": 4}}])
def test_adapters_whose_scale_would_be_another_are_refused(tmp_path: Path, setting: dict[str, Any]) -> None:
    adapters = [write_adapter(tmp_path / f"a{seed}", seed, **setting) for seed in range(2)]
    with pytest.raises(ModelError, match=f"^a0 has {', '.join(setting)}: no mean of such adapters is made$"):
        mean_of(tmp_path, *adapters)


def test_weights_that_are_no_factor_are_refused(tmp_path: Path) -> None:
    adapters = [write_adapter(tmp_path / f"a{seed}", seed) for seed in range(2)]
    for adapter in adapters:
        file = adapter / "adapter_model.safetensors"
        save_file(load_file(file) | {"base_model.model.lm_head.weight": torch.ones(3, 3)}, file)
    with pytest.raises(ModelError, match=r"lm_head\.weight, which is no factor of a LoRA"):
        mean_of(tmp_path, *adapters)


def test_adapters_that_change_other_weights_are_refused(tmp_path: Path) -> None:
    one, other = (write_adapter(tmp_path / f"a{seed}", seed) for seed in range(2))
    file = other / "adapter_model.safetensors"
    save_file({key.replace("up_proj", "down_proj"): value for key, value in load_file(file).items()}, file)
    with pytest.raises(ModelError, match="do not change the same weights"):
        mean_of(tmp_path, one, other)
