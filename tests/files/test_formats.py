"""Rows of data files: every kind, every encoding, and the line that is named where one cannot be read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from zerosearch.errors import DataError
from zerosearch.files.formats import ENDINGS, encoding_of, kind_of, read_file, read_jsonl, stem_of

ROWS = [{"id": "1", "question": "Größe?", "answer": "Île, “a”"}, {"id": "2", "question": 'Say "x"', "answer": "é\ny"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
CSV = 'id,question,answer\n1,Größe?,"Île, “a”"\n2,"Say ""x""","é\ny"\n'


def known(name: str) -> bool:
    return name in ("id", "question", "answer")


def rows(path: Path) -> list[Any]:
    return [row for _, row in read_file(path, is_header=known)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.jsonl", LINES),
        ("q.ndjson", LINES),
        ("q.json", LINES),  # lines of JSON are often called so
        ("q.json", json.dumps(ROWS)),
        ("q.json", json.dumps(ROWS, indent=2)),
        ("q.jsonl", json.dumps(ROWS, indent=2)),
        ("q.jsonl", json.dumps(ROWS)),
        ("q.json", json.dumps({"version": "1.1", "data": ROWS})),
        ("q.json", json.dumps({"info": {"n": 2}, "questions": ROWS})),
        ("q.json", json.dumps({"dev": ROWS})),
        ("q.json", json.dumps({row["id"]: {k: row[k] for k in ("question", "answer")} for row in ROWS})),
        ("q.json", json.dumps({"rows": [{"row_idx": i, "row": row} for i, row in enumerate(ROWS)]})),
        ("q.json", json.dumps({key: [row[key] for row in ROWS] for key in ROWS[0]})),
        ("q.json", json.dumps({key: {str(i): row[key] for i, row in enumerate(ROWS)} for key in ROWS[0]})),
        ("q.json", json.dumps({"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": ROWS}]}]})),
        ("q.csv", CSV),
        ("q.csv", CSV.replace(",", ";").replace("Île;", "Île,")),  # as Excel writes it in many countries
    ],
)
@pytest.mark.parametrize(
    ("encoding", "ends"), [("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\n"), ("utf-16-le", "\r\n")]
)
def test_a_file_is_read_whatever_wrote_it(tmp_path: Path, name: str, text: str, encoding: str, ends: str) -> None:
    data = text.replace("\n", ends).encode(encoding)
    (tmp_path / name).write_bytes(data)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    assert rows(tmp_path / name) == rows(tmp_path / f"{name}.gz") == ROWS


def test_files_that_were_joined_hold_byte_order_marks_inside(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(LINES.encode("utf-8-sig") + LINES.encode("utf-8-sig"))
    assert rows(path) == ROWS + ROWS


def test_tsv_leaves_a_quotation_alone(tmp_path: Path) -> None:
    path = tmp_path / "q.tsv"
    path.write_text('id\tquestion\tanswer\n1\t"Hello" is what?\ta "b\n2\t"say ""x"" now"\t\n')
    assert rows(path) == [
        {"id": "1", "question": '"Hello" is what?', "answer": 'a "b'},
        {"id": "2", "question": 'say "x" now'},
    ]


def test_a_table_without_a_header_gives_lists(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("who, then?\t['a', 'b']\nwho else\t['c']\n")
    assert list(read_file(path, is_header=known)) == [
        (f"{path}:1", ["who, then?", "['a', 'b']"]),
        (f"{path}:2", ["who else", "['c']"]),
    ]


def test_parquet_is_read_in_parts_and_also_gzipped(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "q.parquet", row_group_size=1)
    (tmp_path / "q.parquet.gz").write_bytes(gzip.compress((tmp_path / "q.parquet").read_bytes()))
    assert rows(tmp_path / "q.parquet") == rows(tmp_path / "q.parquet.gz") == ROWS


def test_places_are_lines_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text('\n[\n  {"a": 1},\n\n  {"a":\n 2}, {"a": 3}]\n')
    assert [(where.rpartition(":")[2], row["a"]) for where, row in read_file(path)] == [("3", 1), ("5", 2), ("6", 3)]
    path = tmp_path / "q.csv"
    path.write_text('question,answer\n\na,"x\ny"\nb,c\n')
    assert [where.rpartition(":")[2] for where, _ in read_file(path)] == ["3", "5"]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("q.jsonl", b'{}\n\n{"a": 1\n', ":3: not valid JSON (Expecting ',' delimiter at column 8)"),
        ("q.jsonl", b"{}\n" + b"[" * 200_000 + b"\n", ":2: not valid JSON (nested too deeply)"),
        ("q.jsonl", b"[" * 200_000, ":1: not valid JSON (nested too deeply)"),
        ("q.json", b"[" * 200_000, ":1: not valid JSON (nested too deeply)"),
        ("q.json", b'{"a":' * 100_000, ":1: not valid JSON (nested too deeply)"),
        ("q.jsonl", b'{"a": ' + b"7" * 6000 + b"}\n", ":1: not valid JSON (a number of thousands of digits)"),
        ("q.json", b"[1,\n" + b"7" * 6000 + b"]", ":2: not valid JSON (a number of thousands of digits)"),
        ("q.json", b'[{"a": 1},\n {"a": }]', ":2: not valid JSON"),
        ("q.json", b'[{"a": 1}\n {"a": 2}]', ":2: not valid JSON (a comma or the end of the array is missing)"),
        ("q.json", b'[{"a": 1},\n', ":2: not valid JSON"),
        ("q.json", b"[]\n]", ":2: not valid JSON (there is more behind the end of the array)"),
        ("q.json", b'{"a": 1,\n}', ":2: not valid JSON"),
        ("q.json", b'{"a": 1}\n{"a": 2\n', ":2: not valid JSON"),
        ("q.jsonl", '{}\n{"a": "é"}\n'.encode("latin-1"), ":2: not UTF-8 text (byte 0xe9 at column 8): save"),
        ("q.csv", "question\né\n".encode("cp1252"), ":2: not UTF-8 text (byte 0xe9 at column 1)"),
        ("q.jsonl", b"\xff\xfe{\0}\0\n\0\x00\xd8x\0", ":2: not UTF-16 text (0xd800 at column 1)"),
        ("q.jsonl", b"\xff\xfe{\0}", ": not UTF-16 text, though its first bytes say so"),
        ("q.jsonl", b"\0" * 100, ":1: not valid JSON"),
        ("q.csv", b'question,answer\na,b\n"c,d\ne,f\n', ":3: not valid CSV (unexpected end of data)"),
        ("q.csv", b"question,answer\na,b,c\n", ":2: 3 columns, but the first line has 2"),
        ("q.tsv", b"question\tanswer\na\tb\nc\n", ":3: 1 columns, but the first line has 2"),
        ("q.csv", b"question,question\na,b\n", ":1: two columns have one name"),
        ("q.jsonl.gz", b"{}\n", ": cannot be read: not a whole gzip file"),
        ("q.csv.gz", gzip.compress(b"question\n" * 999, mtime=0)[:40], ": cannot be read: not a whole gzip file"),
        ("q.txt", b"{}", ": unknown kind of question file (use .jsonl,"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line_with_its_place(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        list(read_file(path))
    assert str(caught.value).startswith(f"{path}{says}")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    for name in ("nothing", "nothing.jsonl", "nothing.csv.gz"):
        with pytest.raises(DataError, match="no such file"):
            list(read_file(tmp_path / name))
    for name in ("folder", "folder.jsonl", "folder.parquet"):
        (tmp_path / name).mkdir()
        with pytest.raises(DataError, match="is a folder, not a file"):
            list(read_file(tmp_path / name))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_jsonl(tmp_path / "a\0b.jsonl"))


def test_kind_and_stem_of_a_name() -> None:
    assert kind_of(Path("a/Q.JSONL.gz")) == ".jsonl"
    assert kind_of(Path("jsonl")) is None
    assert {stem_of(Path(f"x/a.b{ending}")) for ending in ENDINGS} == {"a.b"}
    assert (stem_of(Path("a.txt")), stem_of(Path("a.gz"))) == ("a.txt", "a.gz")
    assert encoding_of(b"ab") == encoding_of(b"") == "utf-8"
