"""Questions through verl's Parquet and back, and the metrics of its loggers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from episodes.rolled import QUESTIONS, always_search, roll, search_then_answer, simulated

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.questions import Question
from zerosearch.errors import DataError
from zerosearch.scaleout.verl.dataset import question_of, question_row, write_questions
from zerosearch.scaleout.verl.metrics import episode_metrics, step_metrics

ODD = Question("ü/1", 'Who said "naïve"?\n', ("Zoë", "Zoë K.", ""), hops=2, bridge="café", facts=("a: b", "ß"))


def test_questions_come_back_from_parquet_as_they_were(tmp_path: Path) -> None:
    asked = [*QUESTIONS, ODD]
    write_questions(tmp_path / "train.parquet", asked, lambda text: f"Answer: {text}", "train")
    parquet = pytest.importorskip("pyarrow.parquet")
    back = [question_of(row) for row in parquet.read_table(tmp_path / "train.parquet").column("extra_info").to_pylist()]
    assert back == asked
    assert (back[-1].hops, back[-1].bridge, back[-1].facts) == (2, "café", ("a: b", "ß"))


def test_a_row_has_what_verl_reads() -> None:
    row = question_row(ODD, 3, "prompt", "train")
    assert row["prompt"] == [{"role": "user", "content": "prompt"}]
    assert row["reward_model"] == {"style": "rule", "ground_truth": ["Zoë", "Zoë K.", ""]}
    assert row["extra_info"]["index"] == 3
    assert row["extra_info"]["tools_kwargs"]["search"]["create_kwargs"]["golden_answers"][0] == "Zoë"


def test_a_row_of_somebody_else_is_an_error_that_says_so() -> None:
    with pytest.raises(DataError, match="without its question"):
        question_of({"index": 0})


def test_a_step_in_numbers(byte_codec: Codec) -> None:
    played = roll(byte_codec, search_then_answer, simulated, noise=1.0)
    step = step_metrics([episode_metrics(t, 1.0) for t in played])
    assert (step["search/searches"], step["search/noisy_pages"], step["search/noise"]) == (1.0, 1.0, 1.0)
    assert step["search/leak"] == 1.0  # the scripted engine's noisy pages hold the answer
    assert step["search/em"] == step["search/evidence"] == step["search/valid_actions"] == 1.0
    useful = roll(byte_codec, search_then_answer, simulated, noise=0.0)
    assert "search/leak" not in step_metrics([episode_metrics(t) for t in useful])
    assert step_metrics([]) == {}


def test_failures_and_costs_of_a_step_are_summed(byte_codec: Codec) -> None:
    played = roll(byte_codec, always_search)
    broken = [replace(t, searches=tuple(replace(s, error="http") for s in t.searches)) for t in played]
    step = step_metrics([episode_metrics(t) for t in broken])
    assert step["search/search_errors"] == sum(len(t.searches) for t in played) == 12
    assert all(isinstance(value, float) for value in step.values())


def test_core_never_imports_verl() -> None:
    """Nor do the parts of the scale-out that need none of it."""
    lines = """
import sys
import zerosearch, zerosearch.api, zerosearch.parts, zerosearch.cli, zerosearch.commands.train
import zerosearch.scaleout.verl.stage, zerosearch.scaleout.verl.launch, zerosearch.scaleout.verl.checkpoints
wrong = {"verl", "ray", "torch", "transformers", "hydra", "omegaconf"} & set(sys.modules)
assert not wrong, wrong
"""
    subprocess.run([sys.executable, "-c", lines], check=True)
