"""Benchmarks: the same questions from hub and folder, all of them unless a seeded sample is asked for."""

from __future__ import annotations

import json
import logging
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from zerosearch.episodes.questions import Question, questions_digest
from zerosearch.errors import ConfigError, DataError
from zerosearch.evaluation.benchmarks import SOURCES, canonical, distinct, draw, open_benchmark, title


def rows(count: int, prefix: str = "") -> list[dict[str, Any]]:
    return [
        {"id": f"{prefix}test_{i}", "question": f"Question {i}?", "golden_answers": [f"answer {i}", "x"]}
        for i in range(count)
    ]


def write(path: Path, content: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    return path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str]]:
    """The `datasets` package, as far as it is used, with 30 rows in every data set; a list of what was asked of it."""
    asked: list[tuple[str, str | None, str]] = []

    def load_dataset(name: str, config: str | None, *, split: str) -> list[dict[str, Any]]:
        asked.append((name, config, split))
        return rows(30)

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_the_seven_of_the_paper_are_known() -> None:
    assert [source.title for source in SOURCES.values()] == [
        "NQ", "TriviaQA", "PopQA", "HotpotQA", "2WikiMultiHopQA", "MuSiQue", "Bamboogle",
    ]  # fmt: skip
    assert sum(source.count for source in SOURCES.values()) == 51_713


@pytest.mark.parametrize("name", SOURCES)
def test_from_the_hub(name: str, hub: list[tuple[str, str | None, str]], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = open_benchmark(name)
    split = "dev" if name in ("hotpotqa", "2wikimultihopqa", "musique") else "test"
    assert hub == [("RUC-NLPIR/FlashRAG_datasets", name, split)]
    assert found.source == f"hub:RUC-NLPIR/FlashRAG_datasets:{name}:{split}"
    assert (found.name, found.limit, found.sample_seed) == (name, None, None)
    assert [q.id for q in found.questions] == [f"{name}/test_{i}" for i in range(30)]
    assert "30 questions" in caplog.text  # not as many as there should be


def test_hub_and_folder_give_the_same_questions(hub: object, tmp_path: Path) -> None:
    write(tmp_path / "nq.jsonl", rows(30, "nq/"))
    write(tmp_path / "popqa.jsonl", rows(30))  # ids without the benchmark's name
    assert open_benchmark("nq").digest == open_benchmark("nq", tmp_path).digest
    assert open_benchmark("popqa").digest == open_benchmark("popqa", tmp_path).digest
    assert open_benchmark("nq").digest == questions_digest(open_benchmark("nq").questions)


def test_a_benchmark_has_several_names() -> None:
    names = {
        "2wiki": "2wikimultihopqa", "2WikiMultiHopQA": "2wikimultihopqa", "HotpotQA": "hotpotqa", "hotpot": "hotpotqa",
        "NQ": "nq", "natural-questions": "nq", "nq_open": "nq", "Trivia_QA": "triviaqa", "mine": "mine",
    }  # fmt: skip
    assert {alias: canonical(alias) for alias in names} == names


def test_an_alias_finds_the_file_by_either_name(tmp_path: Path) -> None:
    for stem in ("2wikimultihopqa", "2wiki"):
        path = write(tmp_path / f"{stem}.jsonl", rows(3))
        assert open_benchmark("2wiki", tmp_path).name == "2wikimultihopqa"
        path.unlink()
    assert title("2wikimultihopqa") == "2WikiMultiHopQA"


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", rows(4))
    by_path, by_name = open_benchmark(str(path)), open_benchmark("mine", tmp_path)
    assert by_path.name == by_name.name == "mine"
    assert [q.id for q in by_path.questions] == ["test_0", "test_1", "test_2", "test_3"]  # ids as they are
    assert by_path.digest == by_name.digest


def test_flashrags_own_folders_are_read_by_path_and_by_name(tmp_path: Path) -> None:
    for name, split in (("nq", "test"), ("hotpotqa", "dev"), ("mine", "test")):
        (tmp_path / name).mkdir()
        write(tmp_path / name / f"{split}.jsonl", rows(3))
    for name, file in (("nq", "nq/test.jsonl"), ("hotpotqa", "hotpotqa/dev.jsonl")):
        by_name, by_path = open_benchmark(name, tmp_path), open_benchmark(str(tmp_path / file))
        assert (by_name.name, by_path.name, by_name.source) == (name, name, file)
        assert by_name.digest == by_path.digest
        assert by_name.questions[0].id == f"{name}/test_0"
    assert open_benchmark("mine", tmp_path).name == "mine"
    assert open_benchmark(str(tmp_path / "mine/test.jsonl")).name == "mine-test"
    (tmp_path / "nq/dev.csv").write_text("question,answer\nwho?,Ann\n")
    assert open_benchmark(str(tmp_path / "nq/dev.csv")).name == "nq-dev"  # not the questions that nq means
    with pytest.raises(DataError, match=r"no 2wikimultihopqa/dev\.jsonl; it has hotpotqa/dev, mine/test, nq/dev"):
        open_benchmark("2wiki", tmp_path)


def test_two_files_of_one_name_are_told_apart_or_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "mine.jsonl", rows(2))
        write(tmp_path / folder / "dev.jsonl", rows(2))
    one, other = (open_benchmark(str(tmp_path / folder / "mine.jsonl")) for folder in "ab")
    with pytest.raises(DataError, match=r"b/mine\.jsonl: is called 'mine', as is .*a/mine\.jsonl"):
        distinct([one, other])
    dev = [open_benchmark(str(tmp_path / folder / "dev.jsonl")) for folder in "ab"]
    assert [benchmark.name for benchmark in distinct(dev)] == ["a-dev", "b-dev"]


def test_a_changed_file_has_another_digest(tmp_path: Path) -> None:
    before = open_benchmark(str(write(tmp_path / "mine.jsonl", rows(4)))).digest
    changed = rows(4)
    changed[2]["golden_answers"] = ["another"]
    assert open_benchmark(str(write(tmp_path / "mine.jsonl", changed))).digest != before
    assert open_benchmark(str(write(tmp_path / "mine.jsonl", rows(4)[::-1]))).digest != before


def test_any_other_data_set_of_the_hub(hub: list[tuple[str, str | None, str]]) -> None:
    found = open_benchmark("hub:someone/quiz:test")
    assert (found.name, hub) == ("someone-quiz-test", [("someone/quiz", None, "test")])


def test_the_factbook() -> None:
    found = open_benchmark("factbook:test:two-hop", limit=5)
    assert (found.name, len(found.questions), found.limit) == ("factbook-test-two-hop", 5, 5)


def test_a_sample_is_seeded_nested_and_in_order(tmp_path: Path) -> None:
    write(tmp_path / "mine.jsonl", rows(200))
    whole = open_benchmark("mine", tmp_path)
    some = open_benchmark("mine", tmp_path, limit=40, sample_seed=1)
    assert (some.limit, some.sample_seed, len(some.questions)) == (40, 1, 40)
    assert some == open_benchmark("mine", tmp_path, limit=40, sample_seed=1)
    assert some.questions != open_benchmark("mine", tmp_path, limit=40, sample_seed=2).questions
    assert some.questions != whole.questions[:40]
    assert [q for q in whole.questions if q in some.questions] == list(some.questions)
    assert set(some.questions) < set(open_benchmark("mine", tmp_path, limit=80, sample_seed=1).questions)
    write(tmp_path / "mine.jsonl", rows(200)[::-1])  # the draw is by id, not by place
    assert set(open_benchmark("mine", tmp_path, limit=40, sample_seed=1).questions) == set(some.questions)
    every = open_benchmark("mine", tmp_path, limit=200, sample_seed=1)
    assert (every.limit, every.sample_seed) == (None, None)


def test_every_question_is_drawn_as_often_as_any_other() -> None:
    questions = [Question(f"q{i}", "?", ("a",)) for i in range(20)]
    drawn = [q.id for seed in range(2000) for q in draw(questions, 5, seed)]
    assert len(drawn) == 10_000
    assert all(430 < drawn.count(q.id) < 570 for q in questions)  # 500, and 3.6 standard deviations


@pytest.mark.parametrize(
    ("spec", "data", "error", "words"),
    [
        ("squad", None, ConfigError, "unknown benchmark 'squad'; known are nq, triviaqa, popqa"),
        ("nq", "empty", DataError, "has no nq.jsonl and no nq/test.jsonl; it has no question files"),
        ("nq", ".", DataError, "nq/test.jsonl; it has popqa"),
        ("nq", "nowhere", DataError, "no such folder"),
        ("gone.jsonl", None, DataError, "no such file"),
        ("factbook:all", None, ConfigError, "factbook:train"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    tmp_path: Path, spec: str, data: str | None, error: type[Exception], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    write(tmp_path / "popqa.jsonl", rows(1))
    with pytest.raises(error, match=re.escape(words)) as caught:
        open_benchmark(spec, None if data is None else tmp_path / data)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="at least 1"):
        open_benchmark("popqa", tmp_path, limit=0)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module `own_bench` of a user, found in the current folder."""
    (tmp_path / "own_bench.py").write_text(
        "from zerosearch.episodes.questions import Question\n"
        "def capitals(): return [Question(f'q{n}', f'Capital {n}?', ('Lima',)) for n in range(5)]\n"
        "def nothing(): return []\n"
        "def texts(): return ['Capital?']\n"
        "def twice(): return 2 * capitals()\n"
        "def wants(split): return capitals()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_bench", raising=False)


@pytest.mark.usefixtures("own")
def test_a_benchmark_of_ones_own_is_a_function() -> None:
    found = open_benchmark("own_bench:capitals")
    assert (found.name, found.source, len(found.questions)) == ("capitals", "own_bench:capitals", 5)
    assert len(open_benchmark("own_bench:capitals", limit=2).questions) == 2


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("nothing", DataError, "gives no questions"),
        ("texts", ConfigError, "gives str, not zerosearch.Question"),
        ("twice", DataError, "two questions of one id"),
        ("wants", ConfigError, "missing a required argument"),
        ("captals", ConfigError, "did you mean capitals"),
    ],
)
def test_what_is_no_benchmark_of_ones_own_is_one_line(name: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        open_benchmark(f"own_bench:{name}")
    assert "\n" not in str(caught.value)
