"""The model that embeds: what is missing is said in one line; a real one, where there is one, gives what it should."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from zerosearch.engines.dense import DenseEngine
from zerosearch.engines.encoders import SentenceTransformerEncoder
from zerosearch.errors import ConfigError, ModelError


class NeverAsked:
    name = identity = "never asked"

    def encode(self, texts: list[str]) -> np.ndarray:
        raise AssertionError("nothing is to be embedded")


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    corpus = tmp_path / "c.jsonl"
    corpus.write_text('{"id": 1, "text": "x"}\n')
    with pytest.raises(ConfigError, match=r"faiss-cpu: pip install 'zerosearch-rl\[dense\]'") as caught:
        DenseEngine.open(corpus, NeverAsked(), tmp_path / "cache")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"sentence-transformers: pip install 'zerosearch-rl\[dense\]'") as caught:
        SentenceTransformerEncoder("some/model", cache=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: object) -> Path:
    """A random BERT of two layers, saved as sentence-transformers saves its models."""
    library = pytest.importorskip("sentence_transformers")
    import torch
    from sentence_transformers import models
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("encoder")
    config = BertConfig(
        vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).save_pretrained(path / "bert")
    tiny_tokenizer.save_pretrained(path / "bert")  # type: ignore[attr-defined]
    transformer = models.Transformer(str(path / "bert"), max_seq_length=32)
    pooling = models.Pooling(config.hidden_size)
    model = library.SentenceTransformer(modules=[transformer, pooling], device="cpu", prompts={"query": "query: "})
    model.save(str(path / "model"))
    return path / "model"


def test_a_folder_is_opened_and_embeds_each_text_as_if_it_were_alone(folder: Path, tmp_path: Path) -> None:
    encoder = SentenceTransformerEncoder(str(folder), device="cpu", cache=tmp_path)
    texts = ["a", "the capital of Nepal is a city that lies in a valley", "b " * 200]
    together = encoder.encode(texts)
    assert together.dtype == np.float32
    assert together.shape == (3, 32)
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], row, atol=1e-5)
    assert encoder.name == "model"
    assert encoder.prompts() == {"query": "query: "}


def test_a_folder_is_recognised_by_its_files(folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first, same = (SentenceTransformerEncoder(str(p), device="cpu", cache=tmp_path / "c") for p in (folder, copy))
    assert first.identity == same.identity
    (copy / "README.md").write_text("changed")
    changed = SentenceTransformerEncoder(str(copy), device="cpu", cache=tmp_path / "c")
    assert changed.identity != first.identity


def test_a_model_that_is_not_there_is_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        SentenceTransformerEncoder(str(tmp_path / "gone"), cache=tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot be opened as a sentence-transformers model") as caught:
        SentenceTransformerEncoder(str(tmp_path / "empty"), cache=tmp_path)
    assert "\n" not in str(caught.value)
