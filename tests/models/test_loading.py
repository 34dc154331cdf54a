"""Models as they lie on disk: loaded whole, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from zerosearch.errors import ModelError
from zerosearch.models.local import LocalModel


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the weights of the model in `folder`."""
    weights = load_file(str(folder / "model.safetensors"))
    change(weights)
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        LocalModel.load(str(folder), device="cpu")
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def model_folder(tiny_model: LocalModel, tmp_path: Path) -> Path:
    tiny_model.base.save_pretrained(tmp_path / "model")
    tiny_model.tokenizer.save_pretrained(tmp_path / "model")
    LocalModel.load(str(tmp_path / "model"), device="cpu")
    return tmp_path / "model"


def test_weights_that_are_in_no_file_are_an_error_and_never_random(model_folder: Path) -> None:
    def forget(weights: dict[str, Any]) -> None:
        for key in [key for key in weights if "layers.1." in key]:
            del weights[key]

    rewrite(model_folder, forget)
    assert "9 of its weights are in no file and would be random: model.layers.1." in refusal(model_folder)


def test_weights_of_another_shape_are_named_with_both_shapes(model_folder: Path) -> None:
    """Embeddings that were resized, and a config.json that was not."""

    def resize(weights: dict[str, Any]) -> None:
        embedding = weights["model.embed_tokens.weight"]
        weights["model.embed_tokens.weight"] = torch.cat([embedding, embedding[:2]])

    rewrite(model_folder, resize)
    words = len(AutoTokenizer.from_pretrained(model_folder))
    said = f"model.embed_tokens.weight is {words + 2} x 48 in its weights and {words} x 48 by its config.json"
    assert said in refusal(model_folder)


def test_weights_without_a_place_are_named(model_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rewrite(model_folder, lambda weights: weights.update({"model.layers.7.mlp.up_proj.weight": torch.zeros(2, 2)}))
    LocalModel.load(str(model_folder), device="cpu")
    assert "1 weights of the model's files have no place in it: model.layers.7.mlp.up_proj.weight" in caplog.text


def test_a_missing_shard_and_a_pickle_that_is_none_are_one_line(model_folder: Path) -> None:
    weights = model_folder / "model.safetensors"
    whole = weights.read_bytes()
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(str(weights)), "model-00001-of-00002.safetensors")}
    index["weight_map"]["model.norm.weight"] = "model-00002-of-00002.safetensors"
    weights.rename(model_folder / "model-00001-of-00002.safetensors")
    (model_folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00002-of-00002.safetensors" in refusal(model_folder)
    (model_folder / "model.safetensors.index.json").unlink()
    (model_folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR." + whole[:64])
    assert "could not be loaded" in refusal(model_folder)


def test_weights_that_float16_cannot_hold_are_said(model_folder: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    rewrite(model_folder, lambda weights: weights[name][3].fill_(-65520.0))  # the smallest that is rounded to infinity
    with pytest.raises(ModelError, match=f"{name} holds numbers beyond 65504") as caught:
        LocalModel.load(str(model_folder), dtype="float16", device="cpu")
    assert "\n" not in str(caught.value)
    assert LocalModel.load(str(model_folder), dtype="bfloat16", device="cpu").dtype == torch.bfloat16
    rewrite(model_folder, lambda weights: weights[name][3].fill_(65504.0))
    assert LocalModel.load(str(model_folder), dtype="float16", device="cpu").dtype == torch.float16


def test_a_tokenizer_that_cannot_encode_is_named_as_the_model_is_loaded(model_folder: Path) -> None:
    path = model_folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": "many"}))
    assert "could not be loaded ('>' not supported" in refusal(model_folder)
