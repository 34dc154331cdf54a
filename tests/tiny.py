"""A model small enough for every test: a Llama with random weights, and a real tokenizer trained on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.episodes.protocol import INVALID_TURN_NOTE, LAST_TURN_NOTE, PROMPT
from zerosearch.models import decoding
from zerosearch.models.continuous import Row
from zerosearch.models.local import LocalModel
from zerosearch.models.sampling import StopStrings

END, START, TEXT_END = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LINES = (
    PROMPT,
    LAST_TURN_NOTE,
    INVALID_TURN_NOTE,
    "<think> I need to search for this. </think>\n<search> capital of Nepal </search>",
    "<think> There it is. </think>\n<answer> Kathmandu </answer>",
    "<think>x</think><search>y</search>.</search>></search>></answer>",  # tokens that reach past a closing ">"
    "\n<information>\n[1] Nepal: Kathmandu is the capital of Nepal.\n</information>\n",
)


def tiny_tokenizer() -> Any:
    """Byte-level BPE, about 400 tokens; `<|im_end|>` ends a text and pads, as with SmolLM2."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=[TEXT_END, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES * 3, trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=END, pad_token=END, bos_token=START, chat_template=CHAT
    )


def tiny_llama(vocabulary: int, seed: int = 0, **settings: Any) -> Any:
    """Under 100,000 parameters. The weights are wide enough for the next token to depend on every one before."""
    torch.manual_seed(seed)
    shape = {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    config = LlamaConfig(vocab_size=vocabulary, **(shape | settings))
    model: Any = LlamaForCausalLM(config)
    return model.eval().requires_grad_(False)


def tiny_local_model(tokenizer: Any, seed: int = 0, **settings: Any) -> LocalModel:
    return LocalModel(tiny_llama(len(tokenizer), seed, **settings), tokenizer, f"tiny-{seed}", torch.device("cpu"))


def chain_model(tokenizer: Any, following: Mapping[int, int]) -> LocalModel:
    """A Llama whose likeliest next token is `following[last token]`: with attention and MLP silenced, only that counts.

    The head's row of a token is the sum of what the tokens before it look like after the final norm.
    """
    model = tiny_llama(len(tokenizer), tie_word_embeddings=False, hidden_size=64)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        looks = model.model.norm(model.model.embed_tokens.weight)
        model.lm_head.weight.zero_()
        for last, after in following.items():
            model.lm_head.weight[after] += looks[last]
    return LocalModel(model, tokenizer, "chain", torch.device("cpu"))


def save_chain(tokenizer: Any, text: str, folder: Path) -> Path:
    """The folder of a model that writes `text` in every turn, whatever it is asked."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    chain_model(tokenizer, dict(pairwise(ids))).base.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def give_adapter(model: LocalModel, name: str, seed: int = 1, scale: float = 0.3, rank: int = 4) -> None:
    """A LoRA adapter that changes the model: A and B random, where a new adapter has B = 0."""
    model.add_adapter(name, rank=rank)
    generator = torch.Generator().manual_seed(seed)
    state = {
        key: scale * torch.randn(value.shape, generator=generator) / value.shape[1] ** 0.5
        for key, value in model.adapter_state(name).items()
    }
    model.load_adapter_state(name, state)


def decode_batch(
    model: Any,
    prompts: Sequence[list[int]],
    sampling: Sequence[Sampling],
    *,
    tokenizer: Any,
    eos_ids: frozenset[int],
    on_token: Callable[[int, int], None] | None = None,
) -> list[Generation]:
    """The continuation of each prompt, sampled as one static batch; `on_token(i, id)` hears of each token."""
    rows = [
        Row(None, prompt, how, None if on_token is None else partial(on_token, i))
        for i, (prompt, how) in enumerate(zip(prompts, sampling, strict=True))
    ]
    decoding.decode_batch(model, rows, cache(partial(StopStrings, tokenizer)), eos_ids)
    return [row.generation for row in rows]
