"""`zerosearch compare A B`: what is on the screen, in JSON and in the file, and one line where it cannot be done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluation.made import made, questions
from learning.toy import toy_config, toy_trainer

from zerosearch.commands import compare as command
from zerosearch.episodes.predictions import append_prediction, read_predictions, start_predictions


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.console, "width", 160)  # no cell is broken


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An evaluation of two methods on two benchmarks."""
    for method, shift in (("react", 3), ("rag", 5)):
        for benchmark, count in (("nq", 40), ("bamboogle", 12)):
            right = [int(i % shift == 1) for i in range(count)]
            made(tmp_path / "out", right, method=method, benchmark=benchmark, asked=questions(count, benchmark))
    return tmp_path / "out"


def test_two_methods_of_a_folder(zerosearch: Any, out: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    result = zerosearch("compare", f"{out}:react", f"{out}:rag", "--examples", "1", "--out", str(page))
    assert (result.code, result.err) == (0, "")
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in result.out.splitlines() if "│" in line]
    cells = {line[0]: line[1:] for line in lines}
    assert cells["NQ (40)"][:4] == ["EM", "32.5", "20.0", "+12.5"]
    assert cells["NQ"] == ["10", "5", "3", "22"]
    assert cells["all"] == ["13", "7", "4", "28"]
    assert "macro average" in cells
    assert "A  react\nB  rag\n" in result.out
    assert "A wins: 13 questions" in result.out
    assert "react asks 0 of" in result.out
    text = page.read_text()
    assert "| NQ (40) | EM | 32.5 | 20.0 | +12.5 |" in text
    assert text.count("- golden: ") == 2


def test_another_file_is_not_overwritten_and_its_own_is(zerosearch: Any, out: Path, tmp_path: Path) -> None:
    page, mine = tmp_path / "page.md", tmp_path / "notes.md"
    mine.write_text("# My notes\n")
    sides = (f"{out}:react", f"{out}:rag")
    refused = zerosearch("compare", *sides, "--out", str(mine))
    assert refused.code == 2
    assert f"--out {mine}: was not made by this command" in refused.line
    assert (refused.out, mine.read_text()) == ("", "# My notes\n")
    for _ in range(2):
        assert zerosearch("compare", *sides, "--out", str(page)).code == 0


def test_a_folder_of_runs_is_told_to_be_one(zerosearch: Any, out: Path, tmp_path: Path) -> None:
    """Predictions of training steps are the run's; evaluations beside it are still found."""
    for step in (0, 2):
        file = made(tmp_path / "made", [1, 0])
        place = tmp_path / "runs" / "a" / "evaluations" / f"step-{step:06d}.jsonl"
        place.parent.mkdir(parents=True, exist_ok=True)
        file.path.rename(place)
    for name in ("show", "report"):
        refused = zerosearch(name, str(tmp_path / "runs"))
        assert refused.code == 2
        assert f"it holds training runs: name one, such as {tmp_path / 'runs' / 'a'}" in refused.line
    assert zerosearch("compare", f"{tmp_path}:react", f"{tmp_path}:rag").code == 0


def test_json_holds_what_the_screen_shows(zerosearch: Any, out: Path) -> None:
    result = zerosearch("compare", str(out / "nq" / "react.jsonl"), str(out / "nq" / "rag.jsonl"), "--json")
    found = json.loads(result.out)
    assert found["parts"][0]["wins"] == {"a_only": 10, "b_only": 5, "both": 3, "neither": 22}
    assert found["parts"][0]["measures"]["em"]["difference"]["value"] == pytest.approx(0.125)
    assert (found["macro"], len(found["a_wins"])) == (None, 3)


def test_text_with_marks_of_the_screen_comes_out_as_it_is(zerosearch: Any, tmp_path: Path) -> None:
    odd = [type(q)(q.id, f"[bold]{q.text}[/red] :fire:", q.golden_answers) for q in questions(2)]
    for method, right in (("a", [1, 0]), ("b", [0, 1])):
        made(tmp_path, right, method=method, asked=odd)
    result = zerosearch("compare", f"{tmp_path}:a", f"{tmp_path}:b")
    assert (result.code, result.err) == (0, "")
    assert "[bold]What is q 0?[/red] :fire:" in result.out


def test_what_cannot_be_compared_is_one_line(zerosearch: Any, out: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "other", [1, 0], engine="serper", asked=questions(2, "nq"))
    for arguments, words in (
        ((str(out), f"{out}:rag"), f"holds several methods (rag, react): write {out}:rag"),
        ((f"{out}:cot", f"{out}:rag"), "has no predictions of 'cot'; it has rag, react"),
        ((str(tmp_path / "gone"), f"{out}:rag"), "no such file"),
        ((str(out / "nq" / "rag.jsonl"), str(other.path)), "other questions (40 with digest"),
        ((f"{out}:rag", str(other.path)), "has no bamboogle"),
    ):
        result = zerosearch("compare", *arguments)
        assert result.code == 2
        assert words in result.line
    unlike = zerosearch("compare", str(out / "nq" / "rag.jsonl"), str(other.path), "--unlike")
    assert unlike.code == 0
    assert "unlike: " in unlike.out
    assert "NQ (2)" in unlike.out


def test_the_same_predictions_twice_are_no_comparison(zerosearch: Any, out: Path) -> None:
    file = out / "nq" / "rag.jsonl"
    (out / "again").symlink_to(out / "nq")
    for b in (str(file), f"{file.parent}:rag", str(out / "again" / "rag.jsonl")):
        for more in ((), ("--unlike",)):
            result = zerosearch("compare", str(file), b, *more)
            assert (result.code, result.out) == (2, "")
            assert result.line == f"error: {file} and {b} are the same predictions ({file}): name two different ones"


def test_evaluations_of_training_runs_are_compared(zerosearch: Any, tmp_path: Path) -> None:
    """Two runs of the toy, and an evaluation folder of the same questions: all are read alike."""
    for name, seed in (("one", 0), ("two", 1)):
        config = toy_config(tmp_path, {"name": "grpo"}, steps=2, questions_per_step=4, rollouts=2)
        assert toy_trainer(config.model_copy(update={"name": name, "seed": seed})).run()
    one, two = tmp_path / "one", tmp_path / "two"
    for a, b, steps in ((one, two, "2|2"), (f"{one}@0", f"{one}@2", "0|2"), (f"{one}@2", two, "2|2")):
        result = zerosearch("compare", str(a), str(b), "--json")
        assert result.code == 0, result.err
        found = json.loads(result.out)
        first, last = steps.split("|")
        assert f"after {first} steps" in found["a"]
        assert f"after {last} steps" in found["b"]
        (part,) = found["parts"]
        assert part["questions"] == 8
        em, interval = part["measures"]["em"], part["measures"]["em"]["difference"]
        assert em["a"] - em["b"] == pytest.approx(interval["value"])
        assert interval["low"] <= interval["value"] <= interval["high"]
    rows = read_predictions(one / "evaluations" / "step-000002.jsonl")
    path = tmp_path / "evaluation" / rows.header.benchmark / "rag.jsonl"
    start_predictions(path, replace(rows.header, method="rag", model="another"))
    append_prediction(path, *(replace(row, method="rag") for row in rows.rows))
    same = json.loads(zerosearch("compare", str(one), f"{tmp_path / 'evaluation'}:rag", "--json").out)
    assert (same["a"], same["b"]) == ("episode", "rag")
    assert same["parts"][0]["measures"]["em"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    for target, words in (
        (f"{one}@1", "no such evaluation; there are @0, @2"),
        (f"{one}@last", "no such evaluation; there are @0, @2"),
        (str(one / "step-000000.jsonl.zst"), "holds episodes of training, no predictions"),
    ):
        result = zerosearch("compare", target, str(two))
        assert result.code == 2
        assert words in result.line
    for path in (two / "evaluations").glob("*.jsonl"):
        path.unlink()
    assert "a training run without an evaluation that holds predictions" in zerosearch("compare", str(two), "x").line


def test_three_seeds_are_one_side_and_each_is_told(zerosearch: Any, tmp_path: Path) -> None:
    rights = {"x": [1, 1, 0, 0, 1, 0], "y": [1, 0, 0, 1, 1, 0], "z": [1, 1, 0, 0, 0, 0], "rag": [0, 1, 0, 0, 0, 1]}
    for method, right in rights.items():
        made(tmp_path / "out", right, method=method)
    sides = ",".join(f"{tmp_path}/out:{name}" for name in "xyz"), f"{tmp_path}/out:rag"
    page = tmp_path / "page.md"
    result = zerosearch("compare", *sides, "--out", str(page))
    assert (result.code, result.err) == (0, "")
    line = "A is the mean of 3 runs. Their EM: 50.0, 50.0, 33.3."
    assert line in result.out.splitlines()
    assert line in page.read_text().splitlines()
    assert "A  mean of x, y, z (3 runs)" in result.out.splitlines()
    result = zerosearch("compare", sides[0], f"{tmp_path}/out:y")
    assert result.code == 2
    assert "are the same predictions" in result.line
