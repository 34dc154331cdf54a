"""GGUF files that are written here, read by this package's own reader and by transformers'."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from tiny import LINES, tiny_llama, tiny_tokenizer
from tokenizers import Regex, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from zerosearch.errors import ModelError
from zerosearch.models.gguf import convert_gguf
from zerosearch.models.gguf_writing import _SPLITS, check_gguf, pretokenizer, write_gguf

QWEN2 = next(pattern for pattern, name in _SPLITS.items() if name == "qwen2")


def tokenizer(pre: Any) -> Any:
    """The tests' tokenizer with another way of cutting text; its unknown token is a real one, as SmolLM2's is."""
    found = tiny_tokenizer()
    found.backend_tokenizer.pre_tokenizer = pre
    made = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=found.backend_tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>",
        pad_token="<|im_end|>", unk_token="<|endoftext|>", chat_template=found.chat_template,
    )  # fmt: skip
    return made


def smollm() -> Any:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer(pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]))


def qwen2() -> Any:
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer(pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(QWEN2), "isolated"), byte_level]))


@torch.no_grad()
def difference(a: Any, b: Any, ids: list[int]) -> float:
    first, second = (torch.log_softmax(model(torch.tensor([ids])).logits, -1) for model in (a, b))
    return float((first - second).abs().max())


def stored(model: Any, kind: str) -> Any:
    """The model with its matrices rounded as GGUF stores them: what a reader has to come to, to 1e-4."""
    rounded = copy.deepcopy(model)
    for weight in rounded.parameters():
        if weight.ndim == 2 and kind == "f16":
            weight.data = weight.data.half().float()
        elif weight.ndim == 2:
            blocks = gguf.quantize(weight.data.numpy(), gguf.GGMLQuantizationType.Q8_0)
            weight.data = torch.from_numpy(gguf.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0))
    return rounded


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_a_llama_reads_back_with_the_same_weights_and_tokens(kind: Any, tmp_path: Path) -> None:
    words = smollm()
    model = tiny_llama(len(words) + 5, hidden_size=64)  # more rows than tokens, as with Qwen
    write_gguf(model, words, tmp_path / "a.gguf", kind, name="a")
    (tmp_path / "a").mkdir()
    convert_gguf(tmp_path / "a.gguf", tmp_path / "a")
    back = AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    ids = words.encode(LINES[3])
    assert difference(stored(model, kind), back, ids) < 1e-4 < difference(model, back, ids)
    read = AutoTokenizer.from_pretrained(tmp_path / "a")
    for text in (*LINES, "In 1984, 12 <|im_end|>"):
        assert read.encode(text) == words.encode(text)
    assert read.chat_template == words.chat_template


@pytest.mark.parametrize(("shape", "kind"), [(Qwen2Config, Qwen2ForCausalLM), (Qwen3Config, Qwen3ForCausalLM)])
def test_a_qwen_with_its_own_head_is_what_transformers_reads(shape: Any, kind: Any, tmp_path: Path) -> None:
    words = qwen2()
    torch.manual_seed(0)
    config = shape(
        vocab_size=len(words), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.2, max_position_embeddings=512, tie_word_embeddings=False,
    )  # fmt: skip
    model: Any = kind(config).eval()
    for weight in model.parameters():
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, 1.0, 0.3)  # new ones are 0 or 1, and would hide one that is lost
    write_gguf(model, words, tmp_path / "a.gguf", "f16", name="a")
    back = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="a.gguf", dtype=torch.float32)
    assert difference(stored(model, "f16"), back, words.encode(LINES[3])) < 1e-4


def test_models_and_tokenizers_that_are_not_written_are_refused_by_name(tiny_tokenizer: Any) -> None:
    llama = tiny_llama(64).config
    assert check_gguf(llama) == "llama"
    for change, said in (
        ({"model_type": "gpt_neox"}, "a model of kind gpt_neox"),
        ({"sliding_window": 128}, "a window of 128 tokens"),
        ({"rope_parameters": {"rope_type": "llama3"}}, "positions of type llama3"),
        ({"hidden_act": "gelu"}, "not those of a plain Llama"),
    ):
        odd = tiny_llama(64).config
        vars(odd).update(change)
        with pytest.raises(ModelError, match=said):
            check_gguf(odd)
    description = json.loads(tiny_tokenizer.backend_tokenizer.to_str())
    assert pretokenizer(description) == "gpt-2"
    with pytest.raises(ModelError, match=r"the tokenizer \(BPE, Metaspace\)"):
        pretokenizer(description | {"pre_tokenizer": {"type": "Metaspace"}})
