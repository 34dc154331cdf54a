"""Replayed pages: the right page for a query, a miss where there is none, malformed rows named."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.engines.cache import Cached
from zerosearch.engines.cache_file import PageStore
from zerosearch.engines.page_rows import RecordedPage, parse_page_row
from zerosearch.engines.recorded import NearestQuery, RecordedEngine
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.episodes.search import Document, Quality, SearchPage, SearchRequest
from zerosearch.episodes.trajectory import SearchRecord
from zerosearch.errors import ConfigError, DataError, RunError
from zerosearch.simulator.record import Query, RecordSettings, record
from zerosearch.usage import Usage

ROWS: list[dict[str, Any]] = [
    {"query": "capital of Nepal", "engine": "web", "results": [{"title": "Nepal", "snippet": "Kathmandu."}]},
    {"query": "capital of Peru", "engine": "web", "results": [{"title": "Peru", "text": "Lima."}, {"snippet": "Old."}]},
    {"query": "who directed the film Rear Window", "engine": "web", "results": [{"text": "Hitchcock."}]},
    {"query": "who directed the film Vertigo", "engine": "web", "results": [{"text": "Hitchcock, again."}]},
    {"query": "who directed the film Alien", "engine": "web", "results": [{"text": "Scott."}]},
    {"query": "director of the movie Heat", "engine": "web", "results": [{"text": "Mann."}]},
    {"query": "highest mountains in Bolivia", "engine": "web", "results": []},
]


def write(path: Path, rows: list[Any] = ROWS) -> Path:
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def ask(engine: RecordedEngine, query: str, top_k: int = 5) -> SearchPage:
    return asyncio.run(engine.search(SearchRequest(query, top_k, quality=Quality.NOISY)))


def texts(engine: RecordedEngine, query: str, top_k: int = 5) -> list[str]:
    return [document.text for document in ask(engine, query, top_k).documents]


@pytest.mark.parametrize("name", ["web.jsonl", "web.jsonl.gz"])
def test_a_recorded_query_gets_its_page_again(tmp_path: Path, name: str) -> None:
    engine = RecordedEngine.open(write(tmp_path / name))
    page = ask(engine, " capital  of\nPeru ")
    assert page.documents == (Document("Peru", "Lima."), Document("", "Old."))
    assert (page.engine, page.usage.usd, page.quality, page.cached) == ("recorded:web", 0.0, None, False)
    assert page.seconds > 0
    assert texts(engine, "capital of Peru", 1) == ["Lima."]
    assert not page.missed


@pytest.mark.parametrize("query", ["capital of peru", "capital of Per", "Peru", "capital of Chad"])
def test_exact_means_exact(tmp_path: Path, query: str) -> None:
    engine = RecordedEngine.open(write(tmp_path / "web.jsonl"))
    assert texts(engine, query) == []
    assert ask(engine, query).missed


def test_a_miss_says_so_and_no_page_of_a_cache_or_recording_is_made_of_it(tmp_path: Path) -> None:
    engine = RecordedEngine.open(write(tmp_path / "web.jsonl"))
    assert ask(engine, "capital of Chad").missed
    assert SearchRecord.of("capital of Chad", ask(engine, "capital of Chad"), None).missed
    for found in ("capital of Nepal", "highest mountains in Bolivia", " ?! ", ""):
        assert not ask(engine, found).missed
    cached = Cached(engine, tmp_path / "pages.sqlite")
    asyncio.run(cached.search(SearchRequest("capital of Chad", 5)))
    assert list(cached._store.rows()) == []
    queries = [Query(text, Question(text, text, ("x",))) for text in ("capital of Nepal", "capital of Chad")]
    done = asyncio.run(record(queries, engine, tmp_path / "out.jsonl", ErrorRate(), RecordSettings(3)))
    assert (done.recorded, done.failed, done.missed) == (1, 0, 1)
    assert [json.loads(row)["query"] for row in (tmp_path / "out.jsonl").read_text().splitlines()] == [queries[0].text]


@pytest.mark.parametrize(
    ("limit", "misses", "hits", "stops"),
    [(0.2, 11, 9, True), (0.2, 10, 10, False), (0.2, 19, 0, False), (0.2, 20, 0, True), (0.8, 15, 5, False),
     (1.0, 40, 0, False)],
)  # fmt: skip
def test_a_run_in_which_most_queries_were_never_recorded_stops(
    limit: float, misses: int, hits: int, stops: bool
) -> None:
    errors = ErrorRate(limit)
    for _ in range(hits):
        errors.found(SearchPage((), "recorded:web"))
    said = ""
    try:
        for _ in range(misses):
            errors.found(SearchPage((), "recorded:web", missed=True))
    except RunError as error:
        said = str(error)
    assert bool(said) is stops
    assert not said or f"{misses} of {misses + hits} queries were never recorded: recorded:web" in said


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("capital of Peru", ["Lima.", "Old."]),
        ("Peru's capital", ["Lima.", "Old."]),  # other words of the same stem
        ("Who directed the film 'Vertigo'?", ["Hitchcock, again."]),
        ("the film Vertigo", ["Hitchcock, again."]),
        ("capital of Chad", []),  # the common words are there, the one that matters is not
        ("who directed the film Casablanca", []),
        ("xylophone", []),
        ("the of", []),
        ("", []),
        ("\ud83d", []),
    ],
)
def test_the_nearest_query_is_the_one_with_the_same_rare_words(tmp_path: Path, query: str, found: list[str]) -> None:
    engine = RecordedEngine.open(write(tmp_path / "web.jsonl"), match="nearest")
    assert texts(engine, query) == found


def test_a_lower_limit_takes_pages_from_farther_away(tmp_path: Path) -> None:
    path = write(tmp_path / "web.jsonl")
    query = "who directed the film Casablanca"
    assert texts(RecordedEngine.open(path, match="nearest", min_overlap=0.2), query) == ["Hitchcock, again."]
    assert texts(RecordedEngine.open(path, match="nearest", min_overlap=1.0), query) == []
    for wrong in (0.0, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="min_overlap"):
            RecordedEngine.open(path, match="nearest", min_overlap=wrong)


words = st.lists(
    st.sampled_from(["nepal", "peru", "chad", "capital", "film", "director", "of", "the", "who"]), max_size=6
).map(" ".join)


@given(st.lists(words, max_size=8, unique=True), words, st.floats(0.05, 1.0))
def test_nearest_finds_a_recorded_query_itself_and_never_one_without_a_common_word(
    queries: list[str], query: str, limit: float
) -> None:
    found = NearestQuery(queries, limit)(query)
    meaning = [set(q.split()) - {"of", "the"} for q in queries]
    own = set(query.split()) - {"of", "the"}
    if own and own in meaning:
        assert found is not None
        assert set(found.split()) - {"of", "the"} == own
    if found is not None:
        assert own & set(found.split())


def test_of_two_recordings_the_longer_page_is_kept() -> None:
    short, long = RecordedPage("q", (Document("", "a"),)), RecordedPage(" q", (Document("", "b"), Document("", "c")))
    for recordings in ([short, long], [long, short]):
        assert texts(RecordedEngine(recordings, name="r"), "q") == ["b", "c"]


def test_a_cache_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "pages.sqlite"
    with PageStore(path) as store:
        for top_k in (1, 3):
            documents = tuple(Document("t", f"{rank} of {top_k}", "id") for rank in range(top_k))
            store.put("web", top_k, "capital of Nepal \ud83d", SearchPage(documents, "web", usage=Usage(usd=1.0)))
    engine = RecordedEngine.open(path)
    page = ask(engine, "capital of Nepal \ud83d", 2)
    assert page.documents == (Document("t", "0 of 3", "id"), Document("t", "1 of 3", "id"))
    assert (page.usage.usd, page.engine) == (0.0, "recorded:web")


def test_pages_of_several_engines_are_not_mixed(tmp_path: Path) -> None:
    path = write(tmp_path / "both.jsonl", [*ROWS, {"query": "capital of Nepal", "results": [], "engine": "other"}])
    with pytest.raises(DataError, match=r"holds pages of 2 engines \(other, web\).*engine\.recorded\.source"):
        RecordedEngine.open(path)
    assert texts(RecordedEngine.open(path, source="web"), "capital of Nepal") == ["Kathmandu."]
    assert texts(RecordedEngine.open(path, source="other"), "capital of Nepal") == []
    with pytest.raises(DataError, match="no page of 'third', but of other, web"):
        RecordedEngine.open(path, source="third")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "web.jsonl:2: not valid JSON"),
        ("[]", "web.jsonl:2: not a recorded page: expected an object with 'query' and 'results', found list"),
        ('{"results": []}', "expected an object with 'query' and 'results', found fields results"),
        (
            '{"question": "q", "answer": 1}',
            "expected an object with 'query' and 'results', found fields question, answer",
        ),
        ('{"query": "q", "results": {}}', "web.jsonl:2: the field 'results' must be a list, found dict"),
        ('{"query": "q", "results": ["x"]}', "web.jsonl:2: result 1 must be an object, found str"),
        ('{"query": "q", "results": [{"text": 3}]}', "web.jsonl:2: result 1: the field 'text' must be text, found int"),
        ('{"query": "q", "results": [], "engine": 1}', "web.jsonl:2: the field 'engine' must be text, found int"),
    ],
)
def test_a_malformed_row_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "web.jsonl"
    path.write_text(json.dumps(ROWS[0]) + "\n" + line + "\n")
    with pytest.raises(DataError) as caught:
        RecordedEngine.open(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_results_are_read_whatever_their_fields_are_called() -> None:
    results = [
        {"title": "T", "text": "long", "snippet": "short", "id": 7},
        {"snippet": "half \ud83d", "url": "http://example.org", "title": None},
        {"title": "only a title"},
        {"title": " ", "snippet": ""},
    ]
    assert parse_page_row({"query": "q", "results": results}, "x").documents == (
        Document("T", "long", "7"),
        Document("", "half ?", "http://example.org"),
        Document("only a title", ""),
    )


def test_a_file_that_cannot_be_replayed_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        RecordedEngine.open(tmp_path / "gone.jsonl")
    with pytest.raises(DataError, match="holds no recorded pages"):
        RecordedEngine.open(write(tmp_path / "empty.jsonl", []))
    (tmp_path / "pages.csv").write_text("query,page\n")
    with pytest.raises(DataError, match="unknown kind of recording"):
        RecordedEngine.open(tmp_path / "pages.csv")
    PageStore(tmp_path / "pages.sqlite").close()
    with pytest.raises(DataError, match="holds no recorded pages"):
        RecordedEngine.open(tmp_path / "pages.sqlite")
