"""The mean of adapters: of their products, not of their factors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

SCRIPT = Path(__file__).parents[2] / "recipes/beat-rag/soup.py"
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


def made(*words: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *map(str, words)], capture_output=True, text=True, timeout=120)


def change(folder: Path) -> torch.Tensor:
    """What an adapter adds to the weight."""
    factors = load_file(folder / "adapter_model.safetensors")
    config = json.loads((folder / "adapter_config.json").read_text())
    return config["lora_alpha"] / config["r"] * factors[KEY.format("B")] @ factors[KEY.format("A")]


def test_what_the_mean_adds_to_a_weight_is_the_mean_of_what_they_add(tmp_path: Path) -> None:
    adapters = [write_adapter(tmp_path / f"a{seed}", seed) for seed in range(3)]
    found = made(tmp_path / "soup", *adapters)
    assert found.returncode == 0, found.stderr
    assert "the mean of 3 adapters, rank 6" in found.stdout
    torch.testing.assert_close(change(tmp_path / "soup"), sum(map(change, adapters)) / 3)


def test_adapters_of_another_scale_or_base_are_refused(tmp_path: Path) -> None:
    one = write_adapter(tmp_path / "one", 0)
    for number, changed in enumerate(({"lora_alpha": 8.0}, {"base_model_name_or_path": "another/base"})):
        other = write_adapter(tmp_path / f"other{number}", 1, **changed)
        found = made(tmp_path / "soup", one, other)
        (name,) = changed
        assert found.returncode == 1
        assert found.stderr.startswith(f"error: {name} of {one} is ")
        assert found.stderr.count("\n") == 1
        assert not (tmp_path / "soup").exists()


@pytest.mark.parametrize("setting", [{"use_rslora": True}, {"rank_pattern": {"up_proj": 4}}])
def test_adapters_whose_scale_would_be_another_are_refused(tmp_path: Path, setting: dict[str, Any]) -> None:
    found = made(tmp_path / "soup", *(write_adapter(tmp_path / f"a{seed}", seed, **setting) for seed in range(2)))
    assert found.returncode == 1
    assert (
        found.stderr
        == f"error: {tmp_path / 'a0'} has {', '.join(setting)}: the mean of such adapters is not made here\n"
    )
    assert not (tmp_path / "soup").exists()


def test_weights_that_are_no_factor_are_refused(tmp_path: Path) -> None:
    adapters = [write_adapter(tmp_path / f"a{seed}", seed) for seed in range(2)]
    for adapter in adapters:
        file = adapter / "adapter_model.safetensors"
        save_file(load_file(file) | {"base_model.model.lm_head.weight": torch.ones(3, 3)}, file)
    found = made(tmp_path / "soup", *adapters)
    assert (found.returncode, (tmp_path / "soup").exists()) == (1, False)
    assert "the adapters hold base_model.model.lm_head.weight, which is no factor of a LoRA" in found.stderr


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    adapters = [write_adapter(tmp_path / f"a{seed}", seed) for seed in range(2)]
    before = change(adapters[0])
    assert made(adapters[0], *adapters).returncode == 1
    assert torch.equal(change(adapters[0]), before)
