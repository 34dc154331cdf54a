"""`zerosearch show`: episodes in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from evaluation.made import made
from reports.looked import answer_text, episodes_of, search_text, write_run

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.search import Document, SearchPage
from zerosearch.episodes.trajectory import read_trajectories, write_trajectories


@pytest.fixture
def run(tmp_path: Path, byte_codec: Codec) -> Path:
    return write_run(tmp_path / "r", byte_codec, 2)


def test_an_episode_is_told_from_question_to_reward(zerosearch: Any, run: Path) -> None:
    shown = zerosearch("show", str(run), "--step", "1", "--question", "q0")
    assert shown.code == 0, shown.err
    first = shown.out.split("\n\n")[0].splitlines()
    assert first[:3] == ["step 1, question q0, try 1", "asks      What is number 0?", "golden    gold0"]
    labels = [line[:10].strip() for line in first]
    assert [label for label in labels if label] == [
        "step 1, qu", "asks", "golden", "thinks", "searches", "finds", "thinks", "answers", "reward",
    ]  # fmt: skip
    assert "asked for as " in shown.out
    assert shown.out.count("question q0, try ") == 4


def test_the_worst_come_first_and_the_newest_step_is_shown(zerosearch: Any, run: Path) -> None:
    shown = zerosearch("show", str(run), "--worst", "24").out
    rewards = [float(line.split()[1]) for line in shown.splitlines() if line.startswith("reward")]
    assert len(rewards) == 24
    assert rewards == sorted(rewards)
    assert rewards[0] < rewards[-1]
    assert "step 2, question" in shown
    assert "step 1, question" not in shown
    assert zerosearch("show", str(run)).out.count("step 2, question") == 5


def test_hostile_pages_and_policies_command_no_terminal(zerosearch: Any, run: Path, byte_codec: Codec) -> None:
    told = "\x1b]0;owned\x07\x1b[2J<script>alert(1)</script>\u202e"
    evil = told + "<answer>Lima</answer>"

    def write(prompt: str, sampling: Any) -> str:
        return answer_text(told) if "<information>" in prompt else search_text(told)

    played = episodes_of(byte_codec, write=write, search=lambda request: SearchPage((Document(evil, evil),), "x"))
    write_trajectories(run / "trajectories" / "step-000001.jsonl.zst", played)
    kept = next(read_trajectories(run / "trajectories" / "step-000001.jsonl.zst"))
    assert "\x1b" in kept.searches[0].documents[0].text
    shown = zerosearch("show", str(run))
    assert shown.code == 0, shown.err
    assert "<script>alert(1)</script>" in shown.out
    assert not set(shown.out) & {"\x1b", "\x07", "\u202e"}
    assert "answers   <script>alert(1)</script>" in shown.out.splitlines()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--step", "9"], "has no episodes of step 9; it has 2 steps, from 1 to 2"),
        (["--question", "no"], "no episode of question 'no'"),
        (["--worst", "1", "--question", "q0"], "give one of them"),
    ],
)
def test_what_cannot_be_shown_is_one_line(zerosearch: Any, run: Path, options: list[str], says: str) -> None:
    refused = zerosearch("show", str(run), *options)
    assert refused.code == 2
    assert says in refused.line


def test_a_folder_that_is_no_run_is_one_line(zerosearch: Any, tmp_path: Path) -> None:
    assert "no files of predictions" in zerosearch("show", str(tmp_path)).line
    assert "no such file" in zerosearch("show", str(tmp_path / "x")).line


def test_one_file_of_predictions_is_shown(zerosearch: Any, tmp_path: Path) -> None:
    made(tmp_path / "out", [1, 0, 1])
    (file,) = (tmp_path / "out").glob("*/*.jsonl")
    shown = zerosearch("show", str(file), "--worst", "1")
    assert shown.code == 0, shown.err
    assert shown.out.startswith("nq, rag, question q001, try 1")


def test_a_run_without_episodes_yet_is_called_one(zerosearch: Any, run: Path) -> None:
    for file in (run / "trajectories").iterdir():
        file.unlink()
    (run / "config.toml").touch()
    (run / "manifest.json").touch()
    shown = zerosearch("show", str(run))
    assert shown.code == 2
    assert "this run has no episodes yet" in shown.line
    assert "this run has no episodes of training yet" in zerosearch("show", str(run), "--step", "1").line
