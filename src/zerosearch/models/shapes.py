"""Shapes of models: known ones by name, and what follows from any model's size, without loading weights."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from zerosearch.errors import ConfigError, ModelError, first_line
from zerosearch.models.embedded import EMBEDDED_MODELS, resolve_model
from zerosearch.models.hub import only_here

_QWEN = {"model_type": "qwen2", "vocab_size": 151_936, "max_position_embeddings": 32_768}
_LLAMA = {"model_type": "llama", "vocab_size": 49_152, "max_position_embeddings": 8192}
_KEYS = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")


def _sizes(family: dict[str, Any], *sizes: int, tied: bool = True) -> dict[str, Any]:
    return {**family, **dict(zip(_KEYS, sizes, strict=True)), "tie_word_embeddings": tied}


SHAPES = {
    "smollm2-135m": _sizes(_LLAMA, 576, 1536, 30, 9, 3),
    "qwen2.5-0.5b": _sizes(_QWEN, 896, 4864, 24, 14, 2),
    "qwen2.5-1.5b": _sizes(_QWEN, 1536, 8960, 28, 12, 2),
    "qwen2.5-3b": _sizes(_QWEN, 2048, 11_008, 36, 16, 2),
    "qwen2.5-7b": _sizes(_QWEN | {"vocab_size": 152_064}, 3584, 18_944, 28, 28, 4, tied=False),
    "qwen2.5-14b": _sizes(_QWEN | {"vocab_size": 152_064}, 5120, 13_824, 48, 40, 8, tied=False),
    "qwen2.5-32b": _sizes(_QWEN | {"vocab_size": 152_064}, 5120, 27_648, 64, 40, 8, tied=False),
    "tiny": _sizes(_LLAMA | {"vocab_size": 500}, 48, 96, 2, 4, 2),
}


@dataclass(frozen=True)
class Shape:
    """Counts of weights, and widths. Weights that two layers share are counted once."""

    name: str
    parameters: int
    linear: int
    """Weights of the linear layers, the head apart: those that an adapter changes."""
    edges: int
    """Inputs and outputs of these layers, added up: an adapter has so many weights a rank."""
    looked_up: int
    """Weights of an embedding that is only looked up: a decoding step does not read them."""
    layers: int
    hidden: int
    intermediate: int
    queries: int
    """Heads times width."""
    keys: int
    """Heads of keys times their width, which is that of values too."""
    vocabulary: int


def config_named(name: str) -> Any:
    """The transformers configuration of a known shape, a folder, an embedded model or a hub id; no weights are read.

    A hub id of Qwen2.5 has a known shape, so no hub is asked for it. Raises `ModelError` where there is none,
    `ConfigError` for a name that is neither.
    """
    qwen = re.fullmatch(r"Qwen/(Qwen2\.5)(?:-Coder)?(-[\d.]+B)(?:-Instruct)?", name)
    known = "".join(qwen.groups()).lower() if qwen else name
    if known in SHAPES:
        settings = dict(SHAPES[known])
        return AutoConfig.for_model(settings.pop("model_type"), **settings)
    if "/" not in name and name not in EMBEDDED_MODELS:
        raise ConfigError(f"{name!r} is no folder, no hub id (org/name), and none of the shapes {', '.join(SHAPES)}")
    path = resolve_model(name)
    here = only_here(path)
    try:
        return AutoConfig.from_pretrained(path, local_files_only=here)
    except Exception as error:  # the hub client and the readers raise what they like
        raise ModelError(f"model {name}: its config.json could not be read ({first_line(error)})") from None


def shape_of(config: Any, name: str) -> Shape:
    """Count the weights of a model that is built without memory.

    Raises `ModelError` for one that is no plain decoder.
    """
    text, make = config.get_text_config(), AutoModelForCausalLM
    try:
        with torch.device("meta"):
            model: Any = make.from_config(config)  # type: ignore[no-untyped-call]
        head = model.get_output_embeddings()
        layers = [module for module in model.modules() if isinstance(module, nn.Linear) and module is not head]
        heads = text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // heads
        return Shape(
            name=name,
            parameters=sum(p.numel() for p in model.parameters()),
            linear=sum(layer.weight.numel() for layer in layers),
            edges=sum(layer.in_features + layer.out_features for layer in layers),
            looked_up=0 if head.weight is model.get_input_embeddings().weight else head.weight.numel(),
            layers=text.num_hidden_layers,
            hidden=text.hidden_size,
            intermediate=text.intermediate_size,
            queries=heads * width,
            keys=(getattr(text, "num_key_value_heads", None) or heads) * width,
            vocabulary=text.vocab_size,
        )
    except (AttributeError, ValueError, TypeError) as error:
        raise ModelError(f"model {name}: its size is not known from its config.json ({first_line(error)})") from None
