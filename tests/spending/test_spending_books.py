"""The books of a run folder: what stands, what was spent, and rows of releases that kept none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zerosearch.errors import DataError
from zerosearch.files.jsonl import append_jsonl, write_json
from zerosearch.spending.books import (
    note_spending,
    numbers,
    read_books,
    spent,
    times,
    write_cost,
)
from zerosearch.spending.ledger import Ledger

STEP = Ledger(10, 2, 1, 500, 300, 4.5, 1.25, 0.5)
TRIAL = Ledger(4, 0, 0, 100, 50, 2.0, 0.75, 0.25)


def row(step: int, ledger: Ledger = STEP) -> dict[str, Any]:
    return {
        "step": step,
        "ledger": numbers(ledger),
        "timing": {"rollout_seconds": 3.0, **times(ledger, local=True)},
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for step in range(3):
        append_jsonl(tmp_path / "metrics.jsonl", row(step))
    record = {"step": 0, "ledger": numbers(TRIAL), "timing": times(TRIAL, local=True)}
    write_json(tmp_path / "evaluations" / "step-000000.json", record)
    return tmp_path


def test_the_books_are_the_steps_and_evaluations_that_stand(folder: Path) -> None:
    books = read_books(folder)
    assert (books.steps, books.evaluations) == ((STEP,) * 3, (TRIAL,))
    assert books.standing == Ledger(34, 6, 3, 1600, 950, 15.5, 4.5, 1.75)
    assert books.rollout_seconds == 9.0


def test_what_was_spent_is_what_was_noted_by_all_processes_and_survives_a_cut_line(folder: Path) -> None:
    assert spent(folder) == Ledger()
    note_spending(folder, STEP, "step 0")
    note_spending(folder, TRIAL, "evaluation", rank=1)
    note_spending(folder, STEP, "step 0")
    assert spent(folder) == Ledger.total([STEP, STEP, TRIAL]) == read_books(folder).spent
    with (folder / "spending.jsonl").open("a") as out:
        out.write('{"reason": "step 1", "led')
    assert spent(folder) == Ledger.total([STEP, STEP, TRIAL])
    note_spending(folder, STEP, "step 1")
    assert spent(folder) == Ledger.total([STEP, STEP, STEP, TRIAL])


def test_times_stand_apart_from_the_numbers_that_every_run_repeats() -> None:
    assert numbers(STEP) == {
        "queries": 10, "failed": 2, "cached": 1, "prompt_tokens": 500, "completion_tokens": 300, "usd": 0.5,
    }  # fmt: skip
    assert times(STEP, local=True) == {"search_seconds": 4.5, "simulator_decode_seconds": 1.25}
    assert times(STEP, local=False) == {"search_seconds": 4.5}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metrics.jsonl", '{"step": 0}\n'),
        ("metrics.jsonl", '{"step": 0, "searches": 2.0, "episodes": 60, "timing": {"search_seconds": 7.0}}\n'),
        ("metrics.jsonl", '{"step": 0, "ledger": {"queries": 1}, "timing": {"search_seconds": "x"}}\n'),
        ("metrics.jsonl", '{"step": 0, "ledger": {"queries": -1}, "timing": {"search_seconds": 0}}\n'),
        ("metrics.jsonl", '{"step": 0, "ledger": 7, "timing": {"search_seconds": 0}}\n'),
        ("evaluations/step-000000.json", "{"),
        ("evaluations/step-000000.json", "[]"),
        ("evaluations/step-000000.json", "{}"),
        ("spending.jsonl", '{"reason": "x"}\n'),
    ],
)
def test_a_file_that_is_no_runs_is_named(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=name) as caught:
        read_books(folder)
    assert "\n" not in str(caught.value)


def test_the_summary_holds_both_sums_and_the_budget(tmp_path: Path) -> None:
    write_cost(tmp_path, TRIAL, STEP, {"usd": 5.0, "searches": None})
    found = json.loads((tmp_path / "cost.json").read_text())
    assert Ledger.from_dict(found["standing"]) == TRIAL
    assert Ledger.from_dict(found["spent"]) == STEP
    assert (found["schema"], found["budget"]) == (1, {"usd": 5.0, "searches": None})
