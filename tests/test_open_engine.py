"""From the configuration to an engine: the cache stands before the engine and behind the snippets."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from zerosearch.engines.config import EngineConfig
from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest
from zerosearch.parts import Models, open_engine

TEXT = "Nepal is a state. Kathmandu is its capital. It has eight of the ten highest mountains of the world."


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "countries.jsonl"
    path.write_text(json.dumps({"id": "np", "title": "Nepal", "text": TEXT}) + "\n")
    return path


def opened(**values: Any) -> SearchEngine:
    return open_engine(EngineConfig.model_validate(values), Models())


def ask(engine: SearchEngine, query: str) -> SearchPage:
    return asyncio.run(engine.search(SearchRequest(query, 3)))


def test_pages_are_kept_whole_and_snippets_are_cut_from_them(corpus: Path, tmp_path: Path) -> None:
    settings = {"kind": "bm25", "corpus": str(corpus), "cache": str(tmp_path / "pages.sqlite")}
    cut = ask(opened(**settings, snippet_words=5), "capital Kathmandu")
    whole = ask(opened(**settings), "capital Kathmandu")
    assert cut.documents[0].text == "Kathmandu is its capital."
    assert whole.documents[0].text == TEXT
    assert (cut.cached, whole.cached) == (False, True)


def test_other_parameters_of_an_engine_do_not_get_its_pages(corpus: Path, tmp_path: Path) -> None:
    settings = {"kind": "bm25", "corpus": str(corpus), "cache": str(tmp_path / "pages.sqlite")}
    assert not ask(opened(**settings), "Nepal").cached
    assert not ask(opened(**settings, k1=1.2), "Nepal").cached
    assert ask(opened(**settings), "Nepal").cached


def test_a_cache_becomes_a_recorded_engine(corpus: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "pages.sqlite")
    page = ask(opened(kind="bm25", corpus=str(corpus), cache=path), "capital of Nepal")
    recorded = {"kind": "recorded", "recording": path}
    assert ask(opened(**recorded), "capital of Nepal").documents == page.documents
    assert ask(opened(**recorded), "Nepal's capitals").documents == ()
    assert ask(opened(**recorded, match="nearest"), "Nepal's capitals").documents == page.documents
