"""`zerosearch train --seeds`: a run each, whatever becomes of the others, and what they come to together."""

from __future__ import annotations

import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import write_config
from tiny import save_chain

from zerosearch.commands import train_seeds
from zerosearch.config_file import config_from_dict, load_config
from zerosearch.files.folders import owned
from zerosearch.files.jsonl import read_object, write_json, write_jsonl


@pytest.fixture
def config(tmp_path: Path, tiny_tokenizer: Any) -> Path:
    save_chain(tiny_tokenizer, "\n<search>nepal</search>", tmp_path / "model")
    rows = [
        {"id": c, "question": f"Capital of {c}?", "golden_answers": [c], "title": c, "text": f"The capital of {c}"}
        for c in ("Nepal", "Peru")
    ]
    write_jsonl(tmp_path / "questions.jsonl", rows)
    return write_config(tmp_path / "small.toml", {"engine.bm25.corpus": "{folder}/questions.jsonl"})


def test_a_run_that_fails_stops_no_other_and_the_command_fails_after_all_have_ended(
    zerosearch: Any, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with owned(tmp_path / "runs" / "small-seed0", "test"):
        result = zerosearch("train", str(config), "--seeds", "0,1")
    assert result.code == 3
    assert result.err.splitlines()[-1].startswith("error: 1 of 2 runs failed: seed 0 (status ")
    assert "seed 1  step 1/1" in result.out
    assert load_config(tmp_path / "runs" / "small-seed1" / "config.toml").seed == 1
    table = result.out[result.out.rindex("2 held-out questions, bm25") :]
    assert "seed 1" in table
    assert "seed 0" not in table
    monkeypatch.setattr(train_seeds, "gpus", lambda config: ["0", "1"])  # side by side
    again = zerosearch("train", str(config), "--seeds", "0,1")
    assert (again.code, again.err) == (0, "")
    assert "seed 0  step 1/1" in again.out
    assert "is complete: 1 step;" in again.out  # seed 1 is resumed, and not trained once more
    assert "standard deviation" in again.out
    runs = tmp_path / "runs"
    assert f"seed 0    zerosearch train {runs}/small-seed0/config.toml --set training.steps=2  # trains on" in again.out
    assert f"zerosearch report {runs}/small-seed0 {runs}/small-seed1" in again.out


def test_no_run_starts_where_the_folder_of_a_later_one_holds_other_settings(
    zerosearch: Any, config: Path, tmp_path: Path
) -> None:
    later = ("--name", "small-seed1", "--set", "seed=1", "--set", "training.learning_rate=.5")
    assert zerosearch("train", str(config), *later).code == 0
    result = zerosearch("train", str(config), "--seeds", "0,1")
    assert result.code == 2
    assert "small-seed1" in result.line
    assert "training.learning_rate" in result.line
    assert not (tmp_path / "runs" / "small-seed0").exists()
    assert zerosearch("train", str(config), "--seeds", "0,1", "--fresh").code == 0


def test_an_interrupt_ends_all_runs_those_to_come_too(config: Path, tmp_path: Path) -> None:
    words = ["train", str(config), "--seeds", "0,1", "--set", "training.steps=2000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "zerosearch", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        assert next(line for line in process.stdout if re.search("^seed 0  step +2/2000", line))
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert "seed 1" not in out
    assert not (tmp_path / "runs" / "small-seed1").exists()
    rows = (tmp_path / "runs" / "small-seed0" / "metrics.jsonl").read_bytes()
    time.sleep(1)
    assert (tmp_path / "runs" / "small-seed0" / "metrics.jsonl").read_bytes() == rows  # nobody trains on


def test_mean_and_spread_are_those_of_the_last_evaluations(tmp_path: Path) -> None:
    shown = {"em": 0.0, "cover_em": 0.0, "searches": 1.0, "evidence": 0.5, "valid_actions": 1.0, "answered": 1.0}
    runs = {}
    for seed, f1 in ((0, 0.2), (1, 0.4), (2, 0.9)):
        runs[seed] = config_from_dict({"folder": str(tmp_path), "name": f"r-seed{seed}"}, "test")
        for step, value in ((0, 0.0), (10, f1)):
            file = runs[seed].run_folder / "evaluations" / f"step-{step:06d}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, {"step": step, "engine": "bm25", "summary": shown | {"questions": 2, "f1": value}})
    assert read_object(file)["step"] == 10
    table = train_seeds.summary(runs)
    assert table is not None
    assert "after 10 steps" in str(table.title)
    cells = [next(iter(column.cells)) for column in table.columns]
    assert cells == ["F1", "0.200", "0.400", "0.900", "0.500", f"{statistics.stdev([0.2, 0.4, 0.9]):.3f}"]
    assert train_seeds.summary({}) is None


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ("0,1,1", "--seeds 0,1,1: names a seed twice"),
        ("0,x", "--seeds 0,x: write whole numbers"),
        ("", "--seeds is empty"),
        ("-1", "--seeds -1: write whole numbers"),
        ("0,9223372036854775808", "seed: Input should be less than 9223372036854775808"),
    ],
)
def test_what_is_no_list_of_seeds_is_refused(zerosearch: Any, seeds: str, said: str) -> None:
    result = zerosearch("train", "demo", f"--seeds={seeds}")
    assert result.code == 2
    assert said in result.line


@pytest.mark.parametrize(
    ("device", "count", "visible", "expected"),
    [
        ("auto", 0, None, [None]),
        ("auto", 1, None, [None]),
        ("auto", 3, None, ["0", "1", "2"]),
        ("cuda", 2, "5,7", ["5", "7"]),
        ("cuda:1", 2, None, [None]),
        ("cpu", 2, None, [None]),
    ],
)
def test_runs_share_out_the_gpus_that_are_visible(
    device: str, count: int, visible: str | None, expected: list[str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert train_seeds.gpus(config_from_dict({"model": {"device": device}}, "test")) == expected
