"""Corpora as they are found: every form gives the same passages, and what is wrong is named."""

from __future__ import annotations

import gzip
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.indexes import file_digest
from zerosearch.episodes.search import Document
from zerosearch.errors import DataError

PASSAGES = [("1", "Nepal", "Kathmandu is the capital,\nin a valley."), ("2", 'A "B"', "Perú’s capital is Lima.")]
ROWS = [{"id": i, "title": title, "text": text} for i, title, text in PASSAGES]


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(path: Path) -> list[Document]:
    engine = BM25Engine.open(path, path.parent / "cache")
    try:
        return [engine._passages[i] for i in range(len(engine._passages))]
    finally:
        engine.close()


def csv(mark: str) -> str:
    cells = [("id", "title", "text"), *PASSAGES]
    return "".join(mark.join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in cells)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.jsonl", lines(*ROWS)),
        ("c.jsonl", json.dumps(ROWS)),
        ("c.json", json.dumps(ROWS, indent=1)),
        ("c.json", json.dumps({"documents": ROWS})),
        ("c.jsonl", lines(*({"_id": r["id"], "title": r["title"], "text": r["text"], "metadata": {}} for r in ROWS))),
        ("c.jsonl", lines({"id": 1, "contents": f'"Nepal"\n{PASSAGES[0][2]}'}, ROWS[1])),  # Search-R1
        ("c.jsonl", lines(*({"docid": r["id"], "title": r["title"], "passage": r["text"]} for r in ROWS))),
        ("c.jsonl", lines(*({"id": i, "title": t, "contents": f"{t}\n{text}"} for i, t, text in PASSAGES))),  # FlashRAG
        ("c.csv", csv(",")),
        ("c.csv", csv(";")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_corpus_is_read_whatever_wrote_it(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    expected = [Document(title, body, identifier) for identifier, title, body in PASSAGES]
    (tmp_path / name).write_bytes(text.encode(encoding))
    assert read(tmp_path / name) == expected
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode(encoding)))
    assert read(tmp_path / f"{name}.gz") == expected


def test_the_passages_of_dpr_and_of_ms_marco_are_read(tmp_path: Path) -> None:
    dpr, marco = tmp_path / "psgs_w100.tsv", tmp_path / "collection.tsv"
    dpr.write_text('id\ttext\ttitle\n1\t"Aaron is ""a"" prophet."\tAaron\n2\t\tEmpty\n')
    assert read(dpr) == [Document("Aaron", 'Aaron is "a" prophet.', "1"), Document("Empty", "", "2")]
    marco.write_text("0\tThe presence of communication.\n1\tThe Manhattan Project.\n")
    assert read(marco) == [
        Document("", "The presence of communication.", "0"),
        Document("", "The Manhattan Project.", "1"),
    ]
    marco.write_text("0\tone\ttwo\n")
    with pytest.raises(DataError, match=r"collection\.tsv:1: no column is called text"):
        read(marco)


def test_parquet_is_read(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "c.parquet")
    assert [document.id for document in read(tmp_path / "c.parquet")] == ["1", "2"]


def test_a_passage_without_an_id_is_known_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    rows = {"text": "alpha"}, {"id": None, "text": "beta", "title": 1984}, {"id": 7.0, "contents": "c"}
    path.write_text("\n" + lines(*rows))
    assert read(path) == [Document("", "alpha", "0"), Document("1984", "beta", "1"), Document("", "c", "7")]
    engine = BM25Engine.open(path, tmp_path / "cache")
    assert engine.search_many(["beta"], 1)[0][0].id == "1"


def test_sentences_in_a_list_are_one_text_and_half_a_character_is_none(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(lines({"id": "1", "title": "T", "text": ["One.", " Two."]}) + '{"text": "half \\ud83d emoji"}')
    assert read(path) == [Document("T", "One. Two.", "1"), Document("", "half ? emoji", "1")]


def test_empty_passages_are_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text(lines(*ROWS, {"id": "3", "title": "", "text": " "}, {"id": "4", "text": None}))
    with caplog.at_level(logging.WARNING):
        assert len(read(path)) == 4
    assert f"{path}: 2 of 4 passages are empty (first: passage 3)" in caplog.messages
    path.write_text(lines({"id": "4", "text": ""}))
    with pytest.raises(DataError, match="holds no passages with any text"):
        read(path)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("c.json", '[{"text": "a"},\n {"title": "b"}]', ":2: the passage has neither a field 'text'"),
        ("c.csv", "id,title\n1,a\n", ":2: no column is called text"),
        ("c.csv", "text\n\n\"a\nb", ":3: not valid CSV"),
        ("c.json", "[" * 100_000, ":1: not valid JSON (nested too deeply)"),
        ("c.jsonl.gz", "{}", ": cannot be read: not a whole gzip file"),
        ("c.jsonl", '{"text": "a"}\n{"id": "2", "text": "cut of', ":2: not valid JSON"),
        ("c.jsonl", '{"text": "a"}\n["2", "a list"]', ":2: expected an object"),
        ("c.jsonl", '{"text": "a"}\n' + "[" * 100_000, ":2: not valid JSON (nested too deeply)"),
        ("c.jsonl", '{"text": ' + "7" * 6000 + "}", ":1: not valid JSON (a number of thousands of digits)"),
        ("c.jsonl", '{"title": "T"}', ":1: the passage has neither a field 'text' nor a field 'contents'"),
        ("c.jsonl", '{"text": {"a": 7}}', ":1: the field 'text' must be text, found dict"),
        ("c.jsonl", b'{"text": "\xff\xfe"}', ":1: not UTF-8 text"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, text: str | bytes, says: str) -> None:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError) as caught:
        read(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}{says}")
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["digests"]


def test_what_a_killed_process_left_of_a_digest_is_swept(tmp_path: Path) -> None:
    """And what one that lives is writing is not."""
    corpus, cache = tmp_path / "c.jsonl", tmp_path / "cache"
    corpus.write_text('{"text": "Kathmandu"}')
    digest = file_digest(corpus, cache)
    (note,) = (cache / "digests").iterdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    dead, alive = (note.with_name(f".{note.name}.partial-{pid}") for pid in (process.pid, os.getppid()))
    for known in (True, False):
        if not known:
            note.unlink()
        for partial in (dead, alive):
            partial.write_text("{")
        assert file_digest(corpus, cache) == digest
        assert sorted((cache / "digests").iterdir()) == sorted([alive, note])
