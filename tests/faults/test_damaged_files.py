"""Damaged files of every kind: a command goes on or stops with one line, and never with a traceback."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.damage import damages, make_place, restore, tune

from zerosearch.cli import main


def call(*arguments: str) -> tuple[int, str]:
    """Run a command in this process; its exit status and what it said on standard error."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["zerosearch", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        return (stop.code if isinstance(stop.code, int) else int(stop.code is not None)), err.getvalue()
    finally:
        sys.argv = before
    return 0, err.getvalue()


def needed(*arguments: str) -> None:
    code, err = call(*arguments)
    assert code == 0, (arguments, err)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """With `--faults` a folder with all files; else only what needs no model."""
    place = tmp_path_factory.mktemp("damaged")
    if request.config.getoption("--faults"):
        make_place(place, needed)
    else:
        _small_place(place)
    return place


def _small_place(place: Path) -> None:
    (place / "runs" / "run").mkdir(parents=True)
    (place / "runs" / "run" / "metrics.jsonl").write_text(
        '{"step": 0, "reward": 0.5, "searches": 1.0, "episodes": 2, "search_errors": 0, "cost_usd": 0.0, '
        '"timing": {"search_seconds": 1.0, "rollout_seconds": 2.0}}\n'
    )
    (place / "runs" / "run" / "manifest.json").write_text('{"device": "cpu", "threads": 1, "engine": "bm25"}')
    (place / "runs" / "run" / "spending.jsonl").write_text('{"reason": "step 0", "ledger": {"asked": 2}}\n')


def commands(place: Path) -> list[tuple[str, tuple[str, ...], int]]:
    """Files (a pattern), the command that reads them, and how many rounds of damage they get with `--faults`."""
    config, run = str(place / "config.toml"), str(place / "runs" / "run")
    cost, train = ("cost", "--run", run), ("train", config)
    out = str(place / "other.jsonl")
    pages, recorded, few = str(place / "pages"), str(place / "recorded.jsonl"), str(place / "few.jsonl")
    evaluation = str(place / "evaluation")
    evaluate = ("evaluate", config, "--out", evaluation, "--methods", "direct,rag")
    ask = ("ask", "--run", run, "--json", "Nepal?")
    start = ("train", config, "--name", "new", "--set", f"model.adapter={place / 'tuned'}", "--set", "training.steps=1")
    return [
        ("runs/run/manifest.json", cost, 6),
        ("runs/run/metrics.jsonl", cost, 6),
        ("runs/run/spending.jsonl", cost, 6),
        ("runs/run/evaluations/*.json", cost, 3),
        ("runs/run/metrics.jsonl", train, 1),
        ("runs/run/checkpoints/*/state.json", train, 1),
        ("runs/run/checkpoints/*/learner.pt", train, 1),
        ("runs/run/checkpoints/step-000002/policy/adapter_*", ask, 1),
        ("pages/collect.json", ("collect", config, "--out", pages, "--questions", few), 2),
        ("pages/part-*.jsonl.zst", ("label", pages), 8),
        ("pages/part-*.jsonl.zst", ("record", config, "--queries", pages, "--out", out), 6),
        ("recorded.jsonl", ("label", "--recorded", recorded, "--out", out), 8),
        ("recorded.jsonl", ("record", config, "--queries", few, "--out", recorded), 4),
        ("labels.jsonl", tune(place), 4),
        ("evaluation/*/*.jsonl", ("compare", f"{evaluation}:direct", f"{evaluation}:rag"), 6),
        ("runs/run/evaluations/*.jsonl", ("compare", f"{run}@0", run), 3),
        ("evaluation/table.json", evaluate, 1),
        ("tuned/*", start, 1),
        ("model/*", ask, 1),
    ]  # fmt: skip


def check(code: int, err: str) -> None:
    assert code in (0, 1, 2, 3), code
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == (code != 0), err[-2000:]
    assert len(err) < 3000, err[:3000]


def test_damaged_files(place: Path, tally: Any, tries: Any, request: pytest.FixtureRequest) -> None:
    chance, whole = random.Random(7), bool(request.config.getoption("--faults"))
    for pattern, command, rounds in commands(place):
        for path in sorted(place.glob(pattern)):
            data = path.read_bytes()
            for _ in range(tries(rounds, 1)):
                for name, damage in damages(path, chance):
                    with tally("damaged files", f"{command[0]}: {path.relative_to(place)}: {name}"), kept(place, whole):
                        damage()
                        check(*call(*command))
                    restore(path, data)


@contextlib.contextmanager
def kept(place: Path, whole: bool) -> Iterator[None]:
    """What a command makes in a damaged place is taken away again."""
    run, copy = place / "runs" / "run", place / "copy"
    if whole and not copy.exists():
        shutil.copytree(place / "runs", copy)
    try:
        yield
    finally:
        for name in ("other.jsonl", "other.spending", "runs/new", "tuned.unfinished"):
            path = place / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if whole:
            shutil.rmtree(run)
            shutil.copytree(copy / "run", run)
