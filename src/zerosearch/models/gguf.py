"""A GGUF file of llama architecture as a Hugging Face model: weights, configuration, tokenizer. Without torch.

transformers reads GGUF too, but needs torch for it, differs between versions in how the result can be saved, and leaves
out the tokenizer's splitting of digits.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from zerosearch.errors import ModelError


def convert_gguf(source: Path, to: Path) -> None:
    """Write model.safetensors (float32), config, generation_config and tokenizer files into the empty folder `to`.

    The embeddings are taken to be tied. Raises `ModelError` for a pre-tokenizer that is not known here.
    """
    import numpy as np
    from gguf import GGUFReader, dequantize
    from safetensors.numpy import save_file

    reader = GGUFReader(source)
    fields: dict[str, Any] = {key: field.contents() for key, field in reader.fields.items()}
    weights = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        if tensor.name.endswith("attn_q.weight"):
            values = reorder_rotary(values, fields["llama.attention.head_count"], to_gguf=False)
        elif tensor.name.endswith("attn_k.weight"):
            values = reorder_rotary(values, fields["llama.attention.head_count_kv"], to_gguf=False)
        weights[_hf_name(tensor.name)] = np.ascontiguousarray(values, dtype=np.float32)
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    config = _config(fields)
    write_text_json(to / "config.json", config)
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    write_text_json(to / "generation_config.json", {key: config[key] for key in ids})
    _write_tokenizer(fields, to)
    shutil.copymode(to / "config.json", to / "model.safetensors")  # safetensors lets nobody else read it


def reorder_rotary(values: Any, heads: int, *, to_gguf: bool) -> Any:
    """Rows of rotary pairs, (heads, 2, half) in a Hugging Face model, as GGUF has them, (heads, half, 2); or back.

    `values` is (heads * head_dim, ...). As LlamaModel.permute in llama.cpp's convert_hf_to_gguf.py.
    """
    half = len(values) // heads // 2
    pairs = (2, half) if to_gguf else (half, 2)
    return values.reshape(heads, *pairs, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)


def _hf_name(name: str) -> str:
    """`blk.7.attn_q.weight` -> `model.layers.7.self_attn.q_proj.weight`."""
    top = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    part = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    if name in top:
        return top[name]
    _, layer, kind, _ = name.split(".")
    return f"model.layers.{layer}.{part[kind]}.weight"


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    width = fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "dtype": "float32",
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "head_dim": fields["llama.rope.dimension_count"],
        "hidden_act": "silu",
        "hidden_size": width,
        "initializer_range": width**-0.5,
        "intermediate_size": fields["llama.feed_forward_length"],
        "max_position_embeddings": fields["llama.context_length"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        # GGUF holds a float32, 9.9999997e-06; the model was made with 1e-05.
        "rms_norm_eps": float(f"{fields['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_parameters": {"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]},
        "rope_theta": fields["llama.rope.freq_base"],  # for readers of the older form
        "tie_word_embeddings": True,
        "vocab_size": fields["llama.vocab_size"],
    }


def _write_tokenizer(fields: dict[str, Any], to: Path) -> None:
    """tokenizer.json and tokenizer_config.json.

    GGUF names the pre-tokenizer ("smollm") without describing it: digits one by one, then GPT-2's byte-level pattern
    (llama.cpp, LLAMA_VOCAB_PRE_TYPE_SMOLLM). A test compares the result with the published tokenizer.json.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    if fields["tokenizer.ggml.pre"] != "smollm":
        raise ModelError(f"the pre-tokenizer {fields['tokenizer.ggml.pre']!r} of the GGUF file is not known here")
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    control = 3  # gguf.TokenType.CONTROL
    kinds = zip(tokens, fields["tokenizer.ggml.token_type"], strict=True)
    special = [AddedToken(token, special=True, normalized=False) for token, kind in kinds if kind == control]
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(to / "tokenizer.json"))
    write_text_json(
        to / "tokenizer_config.json",
        {
            # Not GPT2Tokenizer: under that name transformers 5 puts in a pre-tokenizer that knows no digits.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
            "eos_token": tokens[fields["tokenizer.ggml.eos_token_id"]],
            "pad_token": tokens[fields["tokenizer.ggml.padding_token_id"]],
            "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
            "clean_up_tokenization_spaces": False,
            "model_max_length": fields["llama.context_length"],
            "chat_template": fields["tokenizer.chat_template"],
        },
    )


def write_text_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
