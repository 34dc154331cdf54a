"""Engines that may give different pages have different identities, and no file takes pages of two of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from engines.passages import write_corpus
from engines.services import NEPAL, PERU, REQUEST, Service, answer, search
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.collecting import claim
from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.cache import Cached
from zerosearch.engines.config import SimulatedConfig
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.engines.recorded import RecordedEngine
from zerosearch.engines.snippets import Snippets
from zerosearch.episodes.predictions import Header, start_predictions
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.episodes.search import Document
from zerosearch.errors import CheckpointError, DataError
from zerosearch.evaluation.results import unlike
from zerosearch.files.identity import address_of, differences, identity_of, parts_of, with_parts
from zerosearch.models.chat import OpenAIWriter
from zerosearch.models.config import RequestConfig, Server
from zerosearch.parts import model_identity
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.simulator.record import Query, RecordSettings, record
from zerosearch.spending.meter import Meter, Metered

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
names = st.from_regex(r"[a-z_]{1,9}", fullmatch=True).filter(lambda name: name != "kind")
HEADER = Header("nq", "rag", "tiny", "bm25:c", 5, "digest", count=2)


def corpus(path: Path, text: str = "Kathmandu is the capital of Nepal.") -> Path:
    return write_corpus(path, [("1", "Nepal", text)])


@given(words.filter(lambda kind: "=" not in kind), st.dictionaries(names, words))
def test_an_identity_is_read_back_part_by_part(kind: str, parts: dict[str, str]) -> None:
    identity = identity_of(kind, **parts)
    assert parts_of(identity) == {"kind": kind, **parts}
    assert differences(identity, identity) == []
    assert differences(identity, with_parts(identity, added=1)) == ["added none and 1"]


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ("bm25 b=0.4 k1=0.9", "bm25 b=0.4 k1=0.1", ["k1 0.9 and 0.1"]),
        ("bm25 b=0.4", "dense b=0.4", ["kind bm25 and dense"]),
        ("my own engine", "my other engine", ["kind my own engine and my other engine"]),
        ("an 'open quote", "", ["kind an 'open quote and not known"]),
    ],
)
def test_what_differs_is_said(one: str, other: str, said: list[str]) -> None:
    assert differences(one, other) == said


def test_an_address_is_without_its_secrets() -> None:
    assert address_of(httpx.URL("https://me:secret@Host.example:81/e5/retrieve?key=abc#x")) == (
        "https://host.example:81/e5/retrieve"
    )


def test_a_corpus_is_what_it_holds_and_how_it_is_searched(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    one = BM25Engine.open(corpus(tmp_path / "a" / "c.jsonl"), cache)
    copy = BM25Engine.open(corpus(tmp_path / "b" / "d.jsonl"), cache)
    assert (one.identity, one.name) != (copy.identity, copy.name)
    assert one.identity == copy.identity
    edited = BM25Engine.open(corpus(tmp_path / "b" / "c.jsonl", "Lima."), cache)
    other = BM25Engine.open(tmp_path / "a" / "c.jsonl", cache, k1=0.1)
    cut = Snippets(one, 15)
    assert len({engine.identity for engine in (one, edited, other, cut, Snippets(one, 16))}) == 5
    assert differences(one.identity, other.identity) == ["k1 0.9 and 0.1"]
    assert differences(one.identity, cut.identity) == ["snippet_words none and 15"]
    assert Metered(cut, Meter()).identity == cut.identity
    assert Cached(one, tmp_path / "pages.sqlite").identity == one.identity


@pytest.mark.parametrize(
    "change",
    [
        {"style": "tuned"}, {"temperature": 0.1}, {"rewrites": 2}, {"max_tokens": 50},
        {"style": "tuned", "plan_temperature": 0.0}, {"style": "tuned", "plan_temperature": 0.5},
    ],
)  # fmt: skip
def test_a_simulator_is_what_it_is_asked_too(change: dict[str, Any]) -> None:
    def engine(url: str = "http://localhost:1/v1", model: str = "m", **settings: Any) -> SimulatedEngine:
        writer = OpenAIWriter(Server(url, request=settings.pop("request", RequestConfig())), model)
        return SimulatedEngine(writer, SimulatedConfig(**settings))

    assert engine(**change).identity == engine(**change).identity
    assert engine(**change).identity != engine().identity
    assert engine().name == engine(**change).name
    fields = RequestConfig(extra={"min_p": 1})
    others = {engine("http://localhost:2/v1").identity, engine(model="n").identity, engine(request=fields).identity}
    assert len(others | {engine().identity}) == 4


def test_a_tuned_adapter_is_what_its_files_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    found = set()
    for weights in (b"one", b"another"):
        adapter = tmp_path / "adapter"
        adapter.mkdir(exist_ok=True)
        (adapter / "adapter_model.safetensors").write_bytes(weights)
        for seconds in (1, 2):  # its card tells how it came about
            (adapter / "card.json").write_text(json.dumps({"seconds": seconds}))
            found.add(model_identity("smollm2-135m", str(adapter)))
    assert len(found | {model_identity("smollm2-135m", None)}) == 3


def test_two_addresses_of_one_host_never_share_pages(tmp_path: Path, service: Service) -> None:
    host = service.endpoint.url.removesuffix("/v1")
    engines = [service.open("remote", url=f"{host}/{path}/retrieve") for path in ("e5", "bm25")]
    assert engines[0].name == engines[1].name
    service.says(*(answer("remote", [result]) for result in (NEPAL, PERU)))
    pages = [search(Cached(engine, tmp_path / "pages.sqlite")) for engine in engines]  # type: ignore[arg-type]
    assert [(page.documents[0].title, page.cached) for page in pages] == [("Nepal", False), ("Peru", False)]
    with pytest.raises(DataError, match=r"are of 2 engines, which differ in address .*/bm25/retrieve and .*/e5/"):
        RecordedEngine.open(tmp_path / "pages.sqlite")
    replayed = RecordedEngine.open(tmp_path / "pages.sqlite", source=engines[1].identity)
    assert asyncio.run(replayed.search(REQUEST)).documents[0].title == "Peru"


def test_a_recording_is_what_it_holds_and_how_it_is_asked() -> None:
    pages = [RecordedPage("capital of Nepal", (Document("Nepal", "Kathmandu."),), "web")]
    told: list[dict[str, Any]] = [
        {}, {"match": "nearest"}, {"match": "nearest", "min_overlap": 0.9}
    ]  # fmt: skip
    found = {RecordedEngine(pages, name="recorded:web", **one).identity for one in told}
    edited = RecordedEngine([replace(pages[0], documents=())], name="recorded:web").identity
    assert len(found | {edited}) == 4


def test_an_evaluation_does_not_go_on_with_another_corpus_or_other_parameters(tmp_path: Path) -> None:
    first = replace(HEADER, engine_identity="bm25 b=0.4 corpus=aa k1=0.9")
    start_predictions(tmp_path / "p.jsonl", first)
    renamed = replace(first, engine="bm25:another-name")
    assert start_predictions(tmp_path / "p.jsonl", renamed) == []
    other = replace(HEADER, engine_identity="bm25 b=0.4 corpus=bb k1=0.1")
    with pytest.raises(DataError, match=r"another engine \(corpus aa and bb, k1 0.9 and 0.1\)"):
        start_predictions(tmp_path / "p.jsonl", other)
    assert unlike(first, renamed) == []
    assert unlike(first, other) == ["engine bm25:c and bm25:c (corpus aa and bb, k1 0.9 and 0.1)"]
    assert unlike(first, replace(other, engine="none", engine_identity="none")) == []


def test_record_and_collect_never_add_pages_of_a_changed_corpus(tmp_path: Path) -> None:
    path, asked = tmp_path / "out.jsonl", [Query("Nepal", Question("q", "Nepal?", ("Kathmandu",)))]
    for text in ("Kathmandu.", "Katmandu."):
        engine = BM25Engine.open(corpus(tmp_path / "c.jsonl", f"Nepal {text}"), tmp_path / "cache")
        run = record(asked, engine, path, ErrorRate(), RecordSettings(3))
        made = {"policy": "m", "engine": engine.identity, "top_k": 5}
        if text == "Kathmandu.":
            asyncio.run(run)
            claim(tmp_path / "collected", made, [])
            continue
        with pytest.raises(DataError, match=r"another engine than bm25:c as it is now \(corpus \w+ and \w+\)"):
            asyncio.run(run)
        with pytest.raises(DataError, match=r"was collected with another engine \(corpus \w+ and \w+\)"):
            claim(tmp_path / "collected", made, [])
    assert len(path.read_text().splitlines()) == 1


def test_a_run_does_not_go_on_with_a_changed_corpus(tmp_path: Path) -> None:
    from zerosearch.learning.manifest import check_engines

    said: list[str] = []
    check_engines(tmp_path, {"engine": "bm25 corpus=aa"}, said.append)
    assert "does not say which engines this run had" in said.pop()
    (tmp_path / "manifest.json").write_text(json.dumps({"identities": {"engine": "bm25 corpus=aa"}}))
    check_engines(tmp_path, {"engine": "bm25 corpus=aa"}, said.append)
    assert not said
    with pytest.raises(CheckpointError, match=r"the engine is not what it was \(corpus aa and bb\)"):
        check_engines(tmp_path, {"engine": "bm25 corpus=bb"}, said.append)
