"""Values from Python: what a command refuses is refused here too, and the usual forms are taken."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from zerosearch import (
    Collecting,
    Parts,
    Question,
    Trials,
    ask,
    evaluate,
    load_config,
    load_questions,
    open_engine,
    score_answer,
    tune,
)
from zerosearch.episodes.predictions import read_predictions
from zerosearch.episodes.trajectory import read_trajectories
from zerosearch.errors import ConfigError, DataError


@pytest.mark.parametrize("kind", [Trials, Collecting])
@pytest.mark.parametrize("name", ["limit", "concurrency", "samples", "max_tokens", "rollouts", "depth"])
def test_no_number_of_an_evaluation_or_collection_is_below_one(kind: Callable[..., Any], name: str) -> None:
    if name not in kind.__annotations__:
        return
    kind(**{name: 1})
    with pytest.raises(ConfigError, match=f"{name} is 0; it must be at least 1"):
        kind(**{name: 0})


@pytest.mark.parametrize("kind", [Trials, Collecting])
@pytest.mark.parametrize("wrong", [-0.5, float("nan")])
def test_no_temperature_is_below_zero(kind: Callable[..., Any], wrong: float) -> None:
    kind(temperature=0.0)
    with pytest.raises(ConfigError, match=f"temperature is {wrong}; it must be at least 0"):
        kind(temperature=wrong)


def test_a_question_is_not_asked_at_a_temperature_below_zero() -> None:
    with pytest.raises(ConfigError, match="temperature is -1; it must be at least 0"):
        ask("Capital of Nepal?", temperature=-1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with three questions and a corpus of one document."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "corpus.jsonl").write_text('{"id": "1", "title": "Nepal", "text": "Kathmandu is the capital."}\n')
    (tmp_path / "fragen.csv").write_text("Nr,Frage,Antwort\n1,Nepal?,Kathmandu\n2,Peru?,Lima\n3,Cuba?,Havana\n")
    return tmp_path


def test_one_override_is_no_list_of_letters() -> None:
    assert load_config("demo", "training.steps=7").training.steps == 7


def test_one_file_of_labels_is_no_list_of_letters(folder: Path) -> None:
    for missing in ("labels.jsonl", Path("labels.jsonl")):
        with pytest.raises(DataError, match=r"^labels\.jsonl: no such file"):
            tune(load_config("demo"), missing, folder / "simulator")


@pytest.mark.parametrize("benchmarks", [Path("missing.jsonl"), [Path("missing.jsonl")], "missing.jsonl"])
def test_a_benchmark_is_named_by_its_path(folder: Path, benchmarks: Any) -> None:
    with pytest.raises(DataError, match=r"missing\.jsonl: no such file"):
        evaluate(load_config("demo"), "direct", benchmarks, folder / "out")


def test_an_engine_takes_the_path_of_its_corpus(folder: Path) -> None:
    with open_engine("bm25", corpus=folder / "corpus.jsonl") as engine:
        assert [document.title for document in engine.find("capital").documents] == ["Nepal"]


def test_questions_are_read_with_the_names_and_from_the_sources_of_the_commands(folder: Path) -> None:
    names = "question=Frage,answers=Antwort,id=Nr"
    found = load_questions(folder / "fragen.csv", fields=names, limit=2)
    assert [(q.id, q.text, q.golden_answers) for q in found] == [
        ("1", "Nepal?", ("Kathmandu",)),
        ("2", "Peru?", ("Lima",)),
    ]
    assert [q.hops for q in load_questions("factbook:test:two-hop", limit=3)] == [2, 2, 2]
    with pytest.raises(ConfigError, match="must be at least 1"):
        load_questions("factbook:test", limit=-1)


def test_an_engine_may_be_closed_twice_and_says_that_it_is_closed(folder: Path) -> None:
    with open_engine("bm25", corpus=folder / "corpus.jsonl") as engine:
        engine.close()
    with pytest.raises(RuntimeError, match="this is closed"):
        engine.find("capital")


def test_parts_run_nothing_outside_of_their_block() -> None:
    async def work() -> int:
        return 1

    parts = Parts(load_config("demo"))
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"block|closed"):
            parts.run(waiting := work())
        assert inspect.getcoroutinestate(waiting) == inspect.CORO_CLOSED
        with parts:
            assert parts.run(work()) == 1


def test_one_golden_answer_is_no_list_of_letters(folder: Path) -> None:
    assert score_answer("kathmandu", "Kathmandu") == score_answer("kathmandu", ["Kathmandu"])
    assert score_answer("it is Kathmandu", "Kathmandu").cover_em == 1.0
    assert score_answer("K", "Kathmandu").f1 == 0.0
    for answers in ("Lima", ["Lima"], ("Lima",)):
        question = Question("q", "Capital of Peru?", answers)  # type: ignore[arg-type]
        assert question.golden_answers == ("Lima",)
        assert hash(question) == hash(Question("q", "Capital of Peru?", ("Lima",)))
    with open_engine("bm25", corpus=folder / "corpus.jsonl") as engine:
        assert engine.tool_episode("Capital of Peru?", "Lima").score("lima").em == 1.0


def test_parts_read_questions_from_a_path(folder: Path) -> None:
    (folder / "q.jsonl").write_text('{"id": "1", "question": "Peru?", "golden_answers": ["Lima"]}\n')
    with Parts(load_config("demo")) as parts:
        assert [q.id for q in parts.questions(Path("q.jsonl"))] == ["1"]


@pytest.mark.parametrize("read", [lambda path: list(read_trajectories(path)), read_predictions])
def test_the_readers_of_files_take_a_path_as_text(folder: Path, read: Callable[[str], Any]) -> None:
    with pytest.raises(DataError, match=r"^nowhere: no such file"):
        read("nowhere")


def test_a_configuration_and_a_run_are_not_both_asked() -> None:
    with pytest.raises(ConfigError, match="config and run both say what to ask: give one of them"):
        ask("Capital of Nepal?", load_config("demo"), run="runs/demo")
