"""`zerosearch doctor --model`: an estimate before anything is loaded, and what to change where it does not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest


def test_a_model_that_fits_has_its_parts_and_seconds_told(zerosearch: Any) -> None:
    result = zerosearch("doctor", "--model", "qwen2.5-1.5b", "--gpu", "H100")
    assert result.code == 0, result.err
    assert "1,544 million weights, LoRA rank 8, on H100" in result.out
    for part in ("weights", "merged copy", "cache of the sampler", "activations", "logits", "it fits", "rollouts"):
        assert part in result.out


def test_what_does_not_fit_ends_with_1_and_names_settings_that_do(zerosearch: Any) -> None:
    words = ("doctor", "--model", "qwen2.5-3b", "--gpu", "L40S")
    result = zerosearch(*words)
    assert result.code == 1
    assert "it does not fit: 44.0 GiB are there. It would with --set training.micro_batch_tokens=" in result.out
    changes = result.out.split("It would with ")[1].splitlines()[0].split()
    assert zerosearch(*words, *changes).code == 0


def test_no_micro_batch_makes_room_for_the_weights(zerosearch: Any) -> None:
    result = zerosearch("doctor", "--model", "qwen2.5-14b", "--gpu", "4090")
    assert result.code == 1
    assert "No size of micro-batches helps" in result.out


def test_a_folder_is_read_without_its_weights(zerosearch: Any, tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 1000, "architectures": ["LlamaForCausalLM"],
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = zerosearch("doctor", "--model", str(tmp_path), "--gpu", "4090")
    assert result.code == 0, result.err
    assert "0 million weights, LoRA rank 8, on 4090" in result.out


@pytest.mark.parametrize("config", ["one-gpu-1.5b", "one-gpu-7b", "paper-qwen2.5-3b"])
def test_configurations_that_ship_are_estimated_without_a_hub(
    zerosearch: Any, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zerosearch.models.shapes.resolve_model", lambda name: pytest.fail(f"asked for {name}"))
    result = zerosearch("doctor", "--config", config, "--gpu", "H200")
    assert result.code == 0, result.err
    assert re.search(r"seconds a step, about: rollouts [\d.]+, update [\d.]+", result.out)
    seconds = sum(map(float, re.findall(r"(?:rollouts|update) ([\d.]+)", result.out)))
    (hours,) = re.findall(r"200 such steps, about: ([\d.]+) hours", result.out)
    assert float(hours) == pytest.approx(seconds * 200 / 3600, abs=0.1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "qwen9"), "'qwen9' is no folder, no hub id (org/name), and none of the shapes smollm2-135m"),
        (("--model", "tiny", "--gpu", "3090"), "--gpu 3090: known are H200"),
        (("--gpu", "H100"), "--gpu and --set belong to an estimate"),
    ],
)
def test_what_is_unknown_is_told_what_is_known(zerosearch: Any, words: tuple[str, ...], said: str) -> None:
    result = zerosearch("doctor", *words)
    assert result.code == 2
    assert said in result.line


def test_this_machine_without_a_gpu_has_memory_and_no_seconds(zerosearch: Any) -> None:
    result = zerosearch("doctor", "--model", "tiny", "--set", "model.device=cpu", "--set", "training.max_batch_rows=4")
    assert result.code == 0, result.err
    assert "on CPU" in result.out
    assert "seconds a step: not known for CPU" in result.out
