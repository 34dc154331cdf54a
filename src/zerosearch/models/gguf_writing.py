"""A model in memory as a GGUF file: what llama.cpp, Ollama and LM Studio read. Dense models of Llama and Qwen kind.

    write_gguf(model, tokenizer, Path("policy-f16.gguf"), "f16", name="policy")

Names and layout follow llama.cpp's convert_hf_to_gguf.py (https://github.com/ggml-org/llama.cpp); tensor names and
quantisation are those of the `gguf` package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from zerosearch.errors import ModelError, install
from zerosearch.models.gguf import reorder_rotary

GGUFKind = Literal["f16", "q8_0"]
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""The `model_type` of a configuration, and GGUF's name for it."""
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {_LLAMA3: "llama-bpe", _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"): "qwen2"}
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5  # gguf.TokenType


def check_gguf(config: Any) -> str:
    """GGUF's name of the architecture. Raises `ModelError` for a model that is not written here, saying why not."""
    kind = str(config.model_type)
    if kind not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ModelError(f"GGUF: a model of kind {kind} is not written here (only {known}); export merged weights")
    rope = dict(getattr(config, "rope_parameters", None) or {})
    if rope.get("rope_type", "default") != "default":
        raise ModelError(f"GGUF: rotary positions of type {rope['rope_type']} are not written here; export merged")
    sliding = getattr(config, "use_sliding_window", True) and getattr(config, "sliding_window", None)
    if sliding:
        raise ModelError(f"GGUF: attention over a window of {sliding} tokens is not written here; export merged")
    if config.hidden_act != "silu" or getattr(config, "mlp_bias", False):
        raise ModelError("GGUF: the layers of this model are not those of a plain Llama or Qwen; export merged weights")
    return ARCHITECTURES[kind]


def pretokenizer(description: dict[str, Any]) -> str:
    """llama.cpp's name for the way in which a `tokenizer.json` cuts text before its merges.

    Raises `ModelError` for one that is not known here: under a wrong name the file would read text wrongly.
    """
    model, splitting = description["model"], description.get("pre_tokenizer") or {}
    parts = splitting.get("pretokenizers", [splitting])
    normalizer = (description.get("normalizer") or {}).get("type", "NFC")  # llama.cpp leaves NFC out
    byte_level = parts[-1] if parts[-1].get("type") == "ByteLevel" else {}
    if model["type"] == "BPE" and byte_level and normalizer == "NFC" and not byte_level["add_prefix_space"]:
        before, whole = parts[:-1], byte_level.get("use_regex", True)
        if not before and whole:
            return "gpt-2"
        if [p["type"] for p in before] == ["Digits"] and before[0]["individual_digits"] and whole:
            return "smollm"
        if [p["type"] for p in before] == ["Split"] and not whole:
            found = _SPLITS.get(before[0]["pattern"].get("Regex", ""))
            if found and before[0]["behavior"] == "Isolated":
                return found
    raise ModelError(
        f"GGUF: the tokenizer ({model['type']}, {', '.join(str(p.get('type')) for p in parts)}) is not one of those "
        "written here (byte-level BPE as in GPT-2, SmolLM, Llama 3 and Qwen); export merged weights"
    )


def write_gguf(model: Any, tokenizer: Any, path: Path, kind: GGUFKind, *, name: str) -> None:
    """Write `model`, a transformers model, with `tokenizer` to the new file `path`.

    Matrices become `kind`; a matrix whose rows are no multiple of 32 stays float16 under q8_0, and norms and biases
    stay float32. Raises `ModelError` for an architecture or a tokenizer that is not written here.
    """
    try:
        import gguf
    except ImportError:
        raise ModelError(f"GGUF files need gguf: {install('train')}") from None
    config = model.config
    architecture = check_gguf(config)
    description = json.loads(tokenizer.backend_tokenizer.to_str())
    pre = pretokenizer(description)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16 if kind == "f16" else gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_shape(writer, config, str(tokenizer.chat_template or ""))
    _add_tokenizer(writer, tokenizer, description, pre, config.vocab_size)
    for tensor, values, stored in _tensors(model, architecture, kind):
        writer.add_tensor(tensor, values, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: Any, config: Any, chat_template: str) -> None:
    rope = dict(getattr(config, "rope_parameters", None) or {})
    heads = config.num_attention_heads
    head = getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(rope.get("rope_theta") or getattr(config, "rope_theta", None) or 10_000.0))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if chat_template:
        writer.add_chat_template(chat_template)


def _add_tokenizer(writer: Any, tokenizer: Any, description: dict[str, Any], pre: str, rows: int) -> None:
    """The tokens by their ids, filled up to the rows of the embedding."""
    tokens = [f"[PAD{i}]" for i in range(rows)]
    types = [_UNUSED] * rows
    for token, index in description["model"]["vocab"].items():
        tokens[index], types[index] = token, _NORMAL
    for added in description["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    merges = description["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    ids = {role: getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad", "unk")}
    for role, index in ids.items():
        if index is not None:
            getattr(writer, f"add_{role}_token_id")(index)
    begins = ids["bos"] is not None and list(tokenizer.encode("a"))[:1] == [ids["bos"]]
    writer.add_add_bos_token(begins)


def _tensors(model: Any, architecture: str, kind: GGUFKind) -> Iterator[tuple[str, Any, Any]]:
    """GGUF's name, the stored values and their type for each weight. A tied head is left out."""
    import gguf
    import numpy as np

    config, types = model.config, gguf.GGMLQuantizationType
    names = gguf.get_tensor_name_map(
        next(arch for arch, known in gguf.MODEL_ARCH_NAMES.items() if known == architecture), config.num_hidden_layers
    )
    for key, weight in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        named = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if named is None:
            raise ModelError(f"GGUF: has no place for the weight {key} of this model; export merged weights")
        values = weight.detach().float().cpu().numpy()
        if architecture == "llama" and ".q_proj." in key:
            values = reorder_rotary(values, config.num_attention_heads, to_gguf=True)
        elif architecture == "llama" and ".k_proj." in key:
            values = reorder_rotary(values, config.num_key_value_heads, to_gguf=True)
        if values.ndim < 2:
            yield named, np.ascontiguousarray(values, dtype=np.float32), None
        elif kind == "q8_0" and values.shape[-1] % 32 == 0:
            yield named, gguf.quantize(values, types.Q8_0), types.Q8_0
        else:
            yield named, _halved(values, key), None


def _halved(values: Any, key: str) -> Any:
    import numpy as np

    if np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
        raise ModelError(f"GGUF: {key} holds numbers beyond 65504, the largest of float16; export merged weights")
    return values.astype(np.float16)
