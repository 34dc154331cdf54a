"""Question files, corpora, recordings, labels and settings, fuzzed and damaged: read, or told in one line."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zerosearch.config_file import load_config
from zerosearch.engines.corpus import lies_as_lines, passage, scan, unpack
from zerosearch.engines.recorded import read_recordings
from zerosearch.episodes.questions import Fields, Reading, read_questions
from zerosearch.errors import ConfigError, ZeroSearchError
from zerosearch.files.formats import read_file
from zerosearch.simulator.label import VERSION, read_labels

QUESTIONS: list[dict[str, Any]] = [
    {"id": "1", "question": "Größe?", "golden_answers": ["Île", "“a”"]},
    {"_id": 2, "question": "Who?", "answer": "a", "answer_aliases": ["b"], "question_decomposition": [{"id": 1}]},
    {"Question": "Who?", "Answer": {"Value": "V", "Aliases": ["W"], "NormalizedAliases": ["w"]}},
    {"qid": "s", "question": "Is it?", "answer": True, "data_source": "s"},
    {"question": "Who?", "possible_answers": "['Lima' 'City of Kings']", "extra_info": {"index": 0}},
    {"prompt": [{"role": "user", "content": "Question: who?"}], "reward_model": {"ground_truth": {"target": ["a"]}}},
]
PASSAGES = [{"id": "1", "title": "T", "text": "alpha"}, {"_id": 2, "contents": '"T"\nbeta'}, {"passage": "gamma"}]
RESULTS = [{"title": "t", "snippet": "s"}]
RECORDING = [{"query": "q", "engine": "e", "results": RESULTS, "question": "q", "golden_answers": ["a"]}]
QUESTION = {"id": "1", "question": "q", "golden_answers": ["a"]}
LABELS = [
    {**QUESTION, "version": VERSION, "query": "q", "engine": "e", "turn": 0, "rollout": 0, "results": RESULTS,
     "labels": {"outcome": "useful"}, "verdicts": ["noisy"]},
]  # fmt: skip
TOML = 'name = "é"\n[training]\nsteps = 3\n[engine]\nkind = "bm25"\n[engine.bm25]\ncorpus = "c.jsonl"\n'
ODD: list[Any] = [
    None, 7, -0.0, 1e400, True, "", " ", "\ud800", "[", "['a' ... 'b']", "{'a'", "\0", [], {}, [[]], [None],
    {"text": None}, [{"a": [{}]}], "x" * 5000, {"value": {"value": []}},
]  # fmt: skip


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def csv(rows: list[dict[str, Any]], mark: str) -> str:
    cells = [
        ["id", "question", "answer"],
        *[[str(i), "Who, then?", str(list(row.values())[-1])] for i, row in enumerate(rows)],
    ]
    return "".join(mark.join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in cells)


def forms(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {
        "f.jsonl": lines(rows),
        "f.ndjson": lines(rows).replace("\n", "\r\n"),
        "f.json": json.dumps(rows, indent=1, ensure_ascii=False),
        "g.json": json.dumps({"data": rows}),
        "h.json": json.dumps({str(i): row for i, row in enumerate(rows)}),
        "i.json": json.dumps({"question": ["q", "r"], "answer": {"0": "a", "1": "b"}}),
        "f.csv": csv(rows, ","),
        "g.csv": csv(rows, ";"),
        "f.tsv": csv(rows, "\t"),
    }


def questions(path: Path) -> None:
    for question in read_questions(str(path)).questions:
        question.text.encode()
        assert all(answer.strip() for answer in question.golden_answers)
        json.dumps(question.as_row(), ensure_ascii=False).encode()


def corpus(path: Path) -> None:
    source = path
    if not lies_as_lines(path):
        source = path.with_name("unpacked")
        unpack(path, source)
    for _, document in scan(source, path):
        f"{document.title}{document.text}{document.id}".encode()


READERS: dict[str, tuple[dict[str, str], Callable[[Path], Any]]] = {
    "questions": (forms(QUESTIONS), questions),
    "corpus": (forms(PASSAGES), corpus),
    "recording": ({"r.jsonl": lines(RECORDING)}, lambda path: list(read_recordings(path))),
    "labels": ({"l.jsonl": lines(LABELS)}, lambda path: list(read_labels(path))),
    "settings": ({"c.toml": TOML}, load_config),
}
DEEP, LONG = "[" * 50_000, "7" * 6000


def damaged(data: bytes, chance: random.Random) -> bytes:
    """`data` with one thing wrong with it."""
    at = chance.randrange(len(data) + 1)
    match chance.randrange(14):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9))) + data[at:]
        case 2:
            return bytes(byte ^ (1 << chance.randrange(8)) if chance.random() < 0.02 else byte for byte in data)
        case 3:
            return data[:at] + b"\0" * chance.randrange(1, 50) + data[at:]
        case 4:
            return chance.choice(
                [b"", b"\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0" * 64, b"null", b"7", b'"x"', b"[1]"]
            )
        case 5:
            return data[:at] + chance.choice([DEEP, LONG, '"', "'", "}", "]", "\r", "\t", ","]).encode() + data[at:]
        case 6:
            return chance.choice(["{", "[", '{"a":', "x = "]).encode() * chance.choice([1, 50_000])
        case 7:
            return data.decode("utf-8").encode(
                chance.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"])
            )
        case 8:
            return data.decode("utf-8").encode("cp1252", "replace")
        case 9:
            return data.replace(b"\n", chance.choice([b"\r", b"\r\n", b"", b"\n\n\n"]))
        case 10:
            return data.replace(b":", chance.choice([b"", b"::", b"="]), 1)
        case 11:
            return b"\xef\xbb\xbf" + data[:at] + b"\xef\xbb\xbf" + data[at:]
        case 12:
            return data + data[:at]
        case _:
            parts = data.split(b"\n")
            chance.shuffle(parts)
            return b"\n".join(parts)


def with_an_odd_value(text: str, chance: random.Random) -> str:
    """JSON in which one value, somewhere, is another."""
    rows = (
        [json.loads(line) for line in text.splitlines()]
        if text[0] == "{" and "\n" in text.strip()
        else [json.loads(text)]
    )

    def change(value: Any) -> Any:
        if chance.random() < 0.25 or not isinstance(value, (dict, list)) or not value:
            return chance.choice(ODD)
        if isinstance(value, dict):
            key = chance.choice(list(value))
            return {**value, key: change(value[key])}
        at = chance.randrange(len(value))
        return [*value[:at], change(value[at]), *value[at + 1 :]]

    place = chance.randrange(len(rows))
    rows[place] = change(rows[place])
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_any_damage_is_one_line_or_is_read(tally: Any, tries: Any, tmp_path: Path) -> None:
    chance = random.Random(12)
    for number in range(tries(6000, 60)):
        kind = chance.choice(list(READERS))
        texts, read = READERS[kind]
        name = chance.choice(list(texts))
        data = texts[name].encode()
        if name.endswith(("json", "jsonl")) and chance.random() < 0.4:
            data = with_an_odd_value(texts[name], chance).encode("utf-8", "surrogatepass")
        else:
            data = damaged(data, chance)
        if kind != "settings" and chance.random() < 0.2:
            name, data = f"{name}.gz", gzip.compress(data)
            if chance.random() < 0.4:
                data = data[: chance.randrange(len(data))]
        path = tmp_path / name
        path.write_bytes(data)
        with tally(f"damaged {kind}", f"try {number}, {name}: {data[:200]!r}"):
            told(read, path)


def test_what_is_no_file_is_one_line(tally: Any, tmp_path: Path) -> None:
    for kind, (texts, read) in READERS.items():
        for name in texts:
            for fault in ("folder", "missing", "loop", "no ending"):
                path = tmp_path / kind / fault / (name if fault != "no ending" else "file")
                path.parent.mkdir(parents=True, exist_ok=True)
                if fault == "folder":
                    path.mkdir()
                elif fault == "loop":
                    path.symlink_to(path)
                elif fault == "no ending":
                    path.write_bytes(b"\x80\x81")
                with tally(f"no {kind}", f"{fault}, {name}"):
                    assert told(read, path), "it was read"


def test_the_names_of_fields_do_not_matter_to_the_reader(tally: Any, tries: Any) -> None:
    """Rows of random fields with random values, through everything that reads rows."""
    chance = random.Random(13)
    names = [*QUESTIONS[0], *QUESTIONS[1], *QUESTIONS[2], *QUESTIONS[4], *QUESTIONS[5], *PASSAGES[1], "text", "hops"]
    names += [
        "query",
        "answers",
        "passage",
        "title",
        "metadata",
        "is_impossible",
        "answerable",
        "output",
        "data_source",
    ]
    for number in range(tries(3000, 60)):
        row = {
            chance.choice(names): chance.choice([*ODD, *[v for q in QUESTIONS for v in q.values()]]) for _ in range(5)
        }
        with tally("odd rows", f"try {number}: {row!r}"):
            for read in (lambda row: Reading().add(row, "f:1", Fields()), lambda row: passage(row, "f:1", 0)):
                told(read, row)


def told(read: Callable[[Any], Any], what: Any) -> bool:
    """Whether an error was told; it must be one line that says something, or one for each wrong setting."""
    said = ""
    try:
        read(what)
    except ZeroSearchError as error:
        said, wrong = str(error), isinstance(error, ConfigError)
    else:
        return False
    assert said.strip()
    assert len(said.splitlines()) <= (6 if wrong else 1), said  # of settings five are named, and that there are more
    assert len(said) < 2000
    return True


def test_parquet_is_read_or_told(tally: Any, tries: Any, tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist([{"question": "q", "answer": ["a"]}] * 50)
    parquet.write_table(table, tmp_path / "q.parquet")
    data, chance = (tmp_path / "q.parquet").read_bytes(), random.Random(14)
    for number in range(tries(500, 10)):
        at = chance.randrange(len(data))
        broken = chance.choice([data[:at], data[:at] + b"\xff" * 4 + data[at + 4 :], data[:at] + b"\0" + data[at:]])
        (tmp_path / "d.parquet").write_bytes(broken)
        with tally("damaged parquet", f"try {number}"):
            told(lambda path: list(read_file(path)), tmp_path / "d.parquet")
