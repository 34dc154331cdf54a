"""`zerosearch label` with a judge behind a URL: each document once, verdicts kept, pages counted apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engines.conftest import Endpoint, Reply, completion
from small_run import write_config

from zerosearch.episodes.search import Quality
from zerosearch.files.jsonl import append_jsonl, read_rows, write_jsonl
from zerosearch.simulator.label import JUDGE, read_labels

USEFUL, NOISY = Quality.USEFUL, Quality.NOISY
TEXTS = (
    ("It is Lima.", "Hills.", "Deep."),  # the third is not what a policy sees
    ("Hills.", "Lakes.", "It is Lima."),
    ("Fog.", "Hills.", "It is Lima."),
    ("Fog.", "It is Lima.", "Deep."),
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rows = [
        {"query": f"query {n}", "id": "q", "question": "Which?", "golden_answers": ["Lima"],
         "results": [{"title": "T", "text": text} for text in texts]}
        for n, texts in enumerate(TEXTS)
    ]  # fmt: skip
    write_jsonl(tmp_path / "recorded.jsonl", [*rows, rows[0]])
    write_config(tmp_path / "config.toml")
    return tmp_path


def says(request: dict[str, Any]) -> Reply:
    """Yes where the document has the answer; on fog only prose."""
    said = request["messages"][-1]["content"].rpartition("Result:")[2]
    text = "Who can tell?" if "Fog" in said else "yes" if "It is Lima" in said else "no"
    return Reply(body=completion(text, usage={"prompt_tokens": 9, "completion_tokens": 1}))


def label(zerosearch: Any, place: Path, endpoint: Endpoint) -> Any:
    return zerosearch(
        "label", str(place / "config.toml"), "--recorded", str(place / "recorded.jsonl"), "--out",
        str(place / "labels.jsonl"), "--set", "label.judge.model=m", "--set", f"label.judge.base_url={endpoint.url}",
    )  # fmt: skip


def test_documents_are_judged_and_pages_labelled_and_both_are_counted(
    zerosearch: Any, place: Path, endpoint: Endpoint
) -> None:
    endpoint.answer = says
    done = label(zerosearch, place, endpoint)
    assert done.code == 0, done.err
    pages = list(read_labels(place / "labels.jsonl"))
    assert [page.verdicts for page in pages] == [
        (USEFUL, NOISY), (NOISY, NOISY), (None, NOISY), (None, USEFUL), (USEFUL, NOISY),
    ]  # fmt: skip
    assert [page.labels.get(JUDGE) for page in pages] == [USEFUL, NOISY, None, USEFUL, USEFUL]
    assert [len(page.documents) for page in pages] == [3] * 5  # kept for `tune`
    assert "8 documents on 5 pages, 2 useful, 2 without a clear verdict, 0 could not be asked" in done.out
    (row,) = (line.split() for line in done.out.splitlines() if line.startswith("│ judge"))
    assert row[3::2] == ["3", "1", "1"]  # pages: useful, noisy, no label
    assert "judge, document by document: no verdict, noisy" in done.out
    assert "judge and containment agree on 100% of 4 pages" in done.out
    assert len(endpoint.requests) == 8 + 2  # fog is asked about twice


def test_verdicts_are_kept_and_those_of_an_older_release_are_named_and_not_read(
    zerosearch: Any, place: Path, endpoint: Endpoint
) -> None:
    """A verdict of version 2 was one on a page: here it even has the key of a document."""
    endpoint.answer = says
    assert label(zerosearch, place, endpoint).code == 0
    verdicts = place / "labels.verdicts.jsonl"
    kept = list(read_rows(verdicts))
    assert [row["version"] for row in kept] == [3] * 6
    asked = len(endpoint.requests)
    again = label(zerosearch, place, endpoint)
    assert len(endpoint.requests) == asked + 4  # fog again, twice each
    assert "another version" not in again.out
    verdicts.unlink()
    append_jsonl(verdicts, *({"key": row["key"], "judge": "m", "verdict": "useful"} for row in kept))
    older = label(zerosearch, place, endpoint)
    assert older.code == 0
    assert "labels.verdicts.jsonl: 6 verdicts of another version, not used" in older.out.replace("\n", "")
    assert len(endpoint.requests) == asked + 4 + 10
    left = list(read_rows(verdicts))
    assert all("version" not in row for row in left[:6])  # nothing of the user's is taken out
    assert {row["key"]: row["verdict"] for row in left[6:]} == {row["key"]: row["verdict"] for row in kept}


def test_documents_that_could_not_be_asked_end_with_status_three_and_are_asked_next_time(
    zerosearch: Any, place: Path, endpoint: Endpoint
) -> None:
    def refuses(request: dict[str, Any]) -> Reply:
        return Reply(status=400, body=b"no lakes") if "Lakes" in json.dumps(request) else says(request)

    endpoint.answer = refuses
    done = label(zerosearch, place, endpoint)
    assert done.code == 3
    assert "1 of 8 documents to judge failed" in done.err.splitlines()[-1]
    assert "1 could not be asked" in done.out
    assert [page.labels.get(JUDGE) for page in read_labels(place / "labels.jsonl")][1] is None
    endpoint.answer = says
    assert label(zerosearch, place, endpoint).code == 0
    assert [page.labels.get(JUDGE) for page in read_labels(place / "labels.jsonl")][1] is NOISY
