"""The scripts of recipes/beat-rag: how they are used, and one line for what is wrong."""

from __future__ import annotations

import csv
import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zerosearch.episodes.predictions import Header, Outcome, Prediction, write_predictions
from zerosearch.episodes.questions import Question, questions_digest

FOLDER = Path(__file__).parents[2] / "recipes/beat-rag"
SCRIPTS = [file for file in sorted(FOLDER.glob("*.py")) if "__main__" in file.read_text() and file.name != "arms.py"]


def ran(script: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(FOLDER / script), *words], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.stem)
def test_an_error_is_one_line_and_the_docstring_tells_the_usage(file: Path) -> None:
    text = file.read_text()
    assert text.endswith('if __name__ == "__main__":\n    run(main)\n')
    assert re.match(rf'"""[^\n]*\b{file.name} [A-Za-z]', text)


def test_without_its_words_a_script_prints_its_docstring() -> None:
    found = ran("clean_traces.py", "OUT.jsonl")
    assert (found.returncode, found.stdout) == (2, "")
    assert "clean_traces.py OUT.jsonl TRACE.jsonl.gz ..." in found.stderr
    assert "Traceback" not in found.stderr
    assert ran("clean_traces.py", "--help").stdout == found.stderr


def test_words_too_many_are_refused() -> None:
    assert ran("hit_rows.py", "corpus", "train", "out", "more").returncode == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("warm_start.py", "c.toml", "warm.jsonl", "out", "0"), "error: SECONDS: '0' is not a number of at least 1"),
        (("warm_start_simulated.py", "c.toml", "w.jsonl", "out", "x"), "error: SECONDS: 'x' is not a number of"),
        (("obedience.py", "c.toml", "q.jsonl", "0"), "error: argument count: '0' is not a whole number of at least 1"),
        (
            ("arms.py", "--dry-run", "--minutes", "-1"),
            "error: argument --minutes: '-1' is not a number of at least 0.1",
        ),
    ],
)
def test_a_time_or_a_count_of_nothing_is_refused_from_any_folder(
    words: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1] / "src"))
    monkeypatch.chdir(tmp_path)
    found = ran(*words)
    assert (found.returncode != 0, "Traceback" in found.stderr) == (True, False)
    assert said in found.stderr.splitlines()[-1]


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    found = ran("hit_rows.py", str(tmp_path / "corpus.jsonl.gz"), str(tmp_path), str(tmp_path / "out.jsonl"))
    assert found.returncode == 1
    assert found.stderr == f"error: {tmp_path / 'corpus.jsonl.gz'}: no such file\n"


def predictions(folder: Path, benchmark: str, answers: dict[str, str]) -> None:
    asked = {question: Question(question, f"Who wrote {question}?", ("Ann",)) for question in answers}
    digest = questions_digest(list(asked.values()))
    header = Header(benchmark, "rag", "some/model", "bm25", 3, digest, len(asked))
    rows = [Prediction.scored(asked[one], Outcome(answer), benchmark, "rag") for one, answer in answers.items()]
    (folder / benchmark).mkdir(parents=True)
    write_predictions(folder / benchmark / "rag.jsonl", header, rows)


def test_kinds_of_question_are_compared_and_a_kind_without_any_is_said(tmp_path: Path) -> None:
    predictions(tmp_path / "ours", "nq", {"a": "Ann", "b": "Ann", "c": "Bob"})
    predictions(tmp_path / "theirs", "nq", {"a": "Bob", "b": "Ann", "c": "Bob"})
    predictions(tmp_path / "other", "popqa", {"a": "Ann"})
    found = ran("kinds.py", f"{tmp_path}/ours:rag", f"{tmp_path}/theirs:rag")
    assert (found.returncode, found.stderr) == (0, "")
    assert re.search(
        r"^one hop \(3\): \+33\.3 .* \(1 won, 0 lost\)\n   A  EM 66\.7% .*\n   B  EM 33\.3%", found.stdout, re.M
    )
    assert "several hops: no questions\n" in found.stdout
    found = ran("kinds.py", f"{tmp_path}/ours:rag", f"{tmp_path}/other:rag")
    assert (found.returncode, found.stderr) == (1, "error: the two have no question in common\n")


def test_scores_have_a_row_a_question_and_refuse_other_questions(tmp_path: Path) -> None:
    predictions(tmp_path / "ours", "nq", {"a": "Ann", "b": "Bob"})
    predictions(tmp_path / "theirs", "nq", {"a": "Bob", "b": "Bob"})
    out = tmp_path / "scores.csv.gz"
    found = ran("scores.py", str(out), f"ours={tmp_path}/ours:rag", f"theirs={tmp_path}/theirs:rag")
    assert (found.returncode, found.stdout) == (0, f"{out}: 2 questions\n")
    rows = list(csv.DictReader(gzip.decompress(out.read_bytes()).decode().splitlines()))
    assert [(row["benchmark"], row["id"], row["ours em"], row["theirs em"]) for row in rows] == [
        ("nq", "a", "1", "0"),
        ("nq", "b", "0", "0"),
    ]
    assert (rows[0]["ours f1"], rows[0]["ours searches"], rows[0]["ours held"]) == ("1", "0", "0")
    predictions(tmp_path / "other", "nq", {"a": "Ann", "c": "Bob"})
    found = ran("scores.py", str(out), f"ours={tmp_path}/ours:rag", f"other={tmp_path}/other:rag")
    assert (found.returncode, found.stderr) == (1, "error: the evaluations are not of the same questions\n")


def test_fresh_questions_are_covered_and_met_by_no_policy(tmp_path: Path) -> None:
    def gzipped(name: str, rows: list[dict[str, object]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))

    def lines(name: str, rows: list[dict[str, object]]) -> None:
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def asked(number: int, hops: int, place: str) -> dict[str, object]:
        question = f"Who painted the harbour of {place}?"
        return {"id": f"musique/{number}", "question": question, "golden_answers": ["Vera Holm"], "hops": hops}

    place = ["Aldor", "Brenno", "Cathel", "Dunmar", "Eskil"]
    shape = {"id": "nq/0", "golden_answers": ["Vera Holm"]}
    nq = [shape | {"id": f"nq/{n}", "question": f"Who painted the harbour of {name}?"} for n, name in enumerate(place)]
    gzipped("nq.jsonl.gz", nq)
    covered = place[:4]  # no passage is about the harbour of Eskil
    gzipped(
        "corpus.jsonl.gz",
        [
            {"id": n, "title": name, "text": f"Vera Holm painted the harbour of {name}."}
            for n, name in enumerate(covered)
        ],
    )
    lines("simulated-train.jsonl", [nq[0], asked(1, 2, "Farl")])
    lines("simulated-warm.jsonl", [nq[1]])
    lines("hit-rows.jsonl", [nq[2] | {"hops": 1}, asked(1, 2, "Farl"), asked(2, 2, "Gorm"), asked(2, 2, "Gorm")])
    out = tmp_path / "fresh"
    found = ran("fresh_questions.py", str(tmp_path / "corpus.jsonl.gz"), str(tmp_path), str(tmp_path), str(out))
    assert found.returncode == 0, found.stderr
    fresh = {file.stem: [json.loads(line)["id"] for line in file.open()] for file in out.iterdir()}
    assert fresh == {"nq": ["nq/3"], "musique": ["musique/2"]}
