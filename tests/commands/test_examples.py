"""The parts of one's own in `examples/`, each with no change in the package."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from small_run import write_config
from tiny import save_chain

from zerosearch.episodes.trajectory import read_trajectories
from zerosearch.evaluation.methods import Session
from zerosearch.evaluation.results import find_results
from zerosearch.files.jsonl import read_rows

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
CHANGES = {
    "name": "own", "folder": "runs", "model.name": "model", "protocol.max_page_tokens": 60,
    "protocol.max_context_tokens": 500, "engine.kind": "examples.engine:Notes", "engine.settings.folder": "notes",
    "engine.bm25.corpus": None, "reward.name": "examples.reward:brief", "algorithm.name": "examples.algorithm:median",
    "algorithm.entropy_coef": 0.1,
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, tiny_tokenizer: Any, questions_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that only searches for nepal, notes to search in, and the examples as a package in the current folder."""
    save_chain(tiny_tokenizer, "\n<search>nepal</search>", tmp_path / "model")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "nepal.txt").write_text("Kathmandu is the capital of nepal")
    (tmp_path / "notes" / "peru.txt").write_text("Lima is the capital of Peru")
    (tmp_path / "questions.jsonl").write_bytes(questions_file.read_bytes())
    write_config(tmp_path / "own.toml", CHANGES)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setenv("COLUMNS", "300")
    for name in [name for name in sys.modules if name.split(".")[0] == "examples"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 40


def test_a_run_is_trained_with_ones_own_engine_reward_and_algorithm(zerosearch: Any, place: Path) -> None:
    assert {path.stem for path in EXAMPLES} == {"algorithm", "benchmark", "engine", "reward"}
    assert "not here" not in zerosearch("check", "own.toml").out
    result = zerosearch("train", "own.toml")
    assert result.code == 0, result.err
    trajectories = [
        t for path in (place / "runs/own/trajectories").glob("*0.jsonl.zst") for t in read_trajectories(path)
    ]
    trained = [t for t in trajectories if t.searches]
    assert {search.documents[0].title for t in trained for search in t.searches} == {"nepal"}
    assert {search.engine for t in trained for search in t.searches} == {"notes"}
    assert {t.reward for t in trained} == {t.scores.f1 - 0.02 * len(t.searches) for t in trained} != {0.0}
    assert next(iter(read_rows(place / "runs/own/metrics.jsonl")))["trained_rows"] == 4
    assert json.loads((place / "runs/own/manifest.json").read_text())["identities"]["engine"].startswith("notes texts=")


async def echo(session: Session) -> str | None:
    """A method of one's own."""
    await session.search("nepal")
    await session.write(session.asked)
    return "Kathmandu"


def test_an_evaluation_has_ones_own_benchmark_and_method(zerosearch: Any, place: Path) -> None:
    own = f"{__name__}:echo"
    result = zerosearch(
        "evaluate",
        "own.toml",
        "--benchmarks",
        "examples.benchmark:capitals",
        "--methods",
        f"direct,{own}",
        "--out",
        "e",
    )
    assert result.code == 0, result.err
    found = {(file.header.benchmark, file.header.method): file for file in find_results("e")}
    assert set(found) == {("capitals", "direct"), ("capitals", "echo")}
    rows = found["capitals", "echo"].rows
    assert [row.id for row in rows] == ["Nepal", "Peru", "Bolivia"]
    assert [row.em for row in rows] == [1.0, 0.0, 0.0]
    assert {row.searches[0].engine for row in rows} == {"notes"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "reward.name=examples.reward:breif",
            "reward.name: examples.reward:breif: examples.reward has no breif; did",
        ),
        ("algorithm.name=examples.algorithm:torch", "is module, not a function or a class"),
        (
            "algorithm.name=examples.reward:brief",
            "algorithm.name: examples.reward:brief: too many positional",
        ),
        ("engine.kind=examples.engine:Note", "engine.kind: examples.engine:Note: examples.engine has no Note; did"),
        ("reward.name=f2", "reward.name: 'f2' is none of f1, em, cover_em, and no package.module:Name of your own"),
        ("algorithm.name=gppo", "algorithm.name: 'gppo' is none of reinforce, grpo, ppo"),
    ],
)
def test_what_is_wrong_with_ones_own_part_is_one_line_before_anything_is_written(
    zerosearch: Any, place: Path, setting: str, said: str
) -> None:
    result = zerosearch("train", "own.toml", "--set", setting)
    assert result.code != 0
    assert said in result.line
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ("trajectory.scores.f3", "AttributeError: 'Scores' object has no attribute 'f3'"),
        ("None", "gave NoneType, not"),
    ],
)
def test_a_reward_that_fails_ends_the_run_with_one_line(
    zerosearch: Any, place: Path, reward: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "paid.py").write_text(f"def reward(trajectory):\n    return {reward}\n")
    monkeypatch.delitem(sys.modules, "paid", raising=False)
    result = zerosearch("train", "own.toml", "--set", "reward.name=paid:reward")
    assert result.code != 0
    assert said in result.line
    assert "question " in result.line


def test_advantages_of_another_shape_end_the_run_with_one_line(
    zerosearch: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def short(algorithm, batch):\n    return Advantages(batch.rewards_B)\n"
    (place / "shaped.py").write_text(f"from zerosearch.learning.algorithms import Advantages\n{code}")
    monkeypatch.delitem(sys.modules, "shaped", raising=False)
    result = zerosearch("train", "own.toml", "--set", "algorithm.name=shaped:short")
    assert result.code != 0
    assert "algorithm.name: shaped:short: it gave shape (4,), not Advantages of shape (4, " in result.line
