"""Where commands write: one process a folder, and nothing overwritten that the command did not make."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_run import SIMULATED, write_config

from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, Quality
from zerosearch.files.folders import owned
from zerosearch.simulator.label import write_labels


@pytest.fixture
def place(tmp_path: Path, questions_file: Path) -> Path:
    """A configuration and labels; no command here comes so far as to load the model."""
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"id": "1", "title": "Nepal", "text": "Kathmandu"}) + "\n")
    write_config(tmp_path / "config.toml", {"name": "run", "folder": "{folder}"})
    pages = [
        RecordedPage(
            f"query {n}", (Document("Peru", f"Lima {n}"),), "bm25",
            question=Question(f"q{n}", f"Question {n}?", ("Lima",)),
            labels={"judge": Quality.USEFUL if n % 2 else Quality.NOISY},
        )
        for n in range(50)
    ]  # fmt: skip
    write_labels(tmp_path / "labels.jsonl", pages)
    return tmp_path


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


TUNE = ("tune", "config.toml", "labels.jsonl")


@pytest.mark.parametrize("command", [TUNE, (*TUNE, "--set", "tune.full=true")])
def test_an_adapter_is_not_written_over_what_is_not_one(
    zerosearch: Any, place: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "work" / "thesis").mkdir(parents=True)
    (place / "work" / "notes.txt").write_text("mine")
    (place / "work" / "thesis" / "chapter.tex").write_text("mine")
    foreign = place / "foreign"
    foreign.mkdir()
    (foreign / ("config.json" if "--set" in command else "adapter_config.json")).write_text("{}")
    (place / "link").symlink_to("foreign")
    monkeypatch.chdir(place)
    before = listing(place)
    for out, said in (
        ("work", "holds notes.txt, thesis, which this command did not make; name another folder"),
        ("foreign", "without zerosearch's card.json; name another folder"),
        ("link", "is a symbolic link"),
        ("labels.jsonl", "is a file"),
        (".", "the folder you are in"),
        ("x" * 300, "File name too long"),
    ):
        result = zerosearch(*command, "--out", out)
        assert said in result.line
        assert result.code in (2, 3)
    assert listing(place) == before


@pytest.fixture
def commands(place: Path) -> dict[str, tuple[list[str], Path]]:
    config = str(place / "config.toml")
    (place / "pages").mkdir()
    write_config(place / "simulated.toml", SIMULATED)
    return {
        "train": (["train", config], place / "run"),
        "evaluate": (["evaluate", config, "--out", str(place / "out")], place / "out"),
        "collect": (["collect", config, "--out", str(place / "out")], place / "out"),
        "fidelity": (
            ["fidelity", str(place / "simulated.toml"), "--out", str(place / "out")],
            place / "out",
        ),
        "record": (
            ["record", config, "--queries", str(place / "questions.jsonl"), "--out", str(place / "p.jsonl")],
            place / "p.jsonl",
        ),
        "label": (["label", config, str(place / "pages")], place / "pages" / "labels.jsonl"),
        "tune": (["tune", config, str(place / "labels.jsonl"), "--out", str(place / "out")], place / "out"),
    }


@pytest.mark.parametrize("name", ["train", "evaluate", "collect", "fidelity", "record", "label", "tune"])
def test_a_folder_in_use_is_refused(zerosearch: Any, commands: Any, place: Path, name: str) -> None:
    arguments, target = commands[name]
    before = listing(place)
    with owned(target, "other"):
        result = zerosearch(*arguments)
    assert result.code == 2
    assert "zerosearch other (process" in result.line
    assert "is writing here" in result.line
    assert listing(place) == before


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("evaluate", "out/table.md"),
        ("evaluate", "out/table.json"),
        ("collect", "out/progress.json"),
        ("collect", "out/spending.jsonl"),
        ("fidelity", "out/fidelity.html"),
        ("fidelity", "out/pages.jsonl"),
        ("label", "pages/labels.jsonl"),
    ],
)
def test_a_file_that_was_not_made_here_is_not_overwritten(
    zerosearch: Any, commands: Any, place: Path, name: str, there: str
) -> None:
    arguments, _ = commands[name]
    (place / there).parent.mkdir(exist_ok=True)
    (place / there).write_text('{"mine": 1}\n')
    before = listing(place)
    result = zerosearch(*arguments)
    assert result.code == 2
    assert str((place / there).name) in result.line
    assert "name another" in result.line
    assert listing(place) == before


@pytest.mark.parametrize("name", ["evaluate", "collect", "fidelity"])
def test_a_file_in_place_of_the_folder_is_told_before_the_work(
    zerosearch: Any, commands: Any, place: Path, name: str
) -> None:
    arguments, target = commands[name]
    target.write_text("mine")
    before = listing(place)
    result = zerosearch(*arguments)
    assert result.code == 2
    assert f"--out {target}: is a file; name a folder" in result.line
    assert (result.out, listing(place)) == ("", before)


def test_an_evaluation_does_not_go_into_a_runs_folder(zerosearch: Any, commands: Any, place: Path) -> None:
    arguments, target = commands["evaluate"]
    target.mkdir()
    (target / "metrics.jsonl").write_text('{"step": 0, "reward": 0.5}\n')
    before = listing(place)
    result = zerosearch(*arguments)
    assert result.code == 2
    assert f"--out {target}: is the folder of a training run" in result.line
    assert listing(place) == before


def test_pages_are_not_recorded_into_a_file_of_labels(zerosearch: Any, commands: Any, place: Path) -> None:
    """The labels are of these very pages, so that nothing else tells the two files apart."""
    arguments, pages = commands["record"]
    assert zerosearch(*arguments).code == 0
    labels = place / "of-pages.jsonl"
    labelled = zerosearch("label", arguments[1], "--recorded", str(pages), "--out", str(labels))
    assert labelled.code == 0, labelled.err
    before = labels.read_bytes()
    result = zerosearch(*arguments[:-1], str(labels))
    assert result.code == 2
    assert "not a row that `zerosearch record` wrote" in result.line
    assert labels.read_bytes() == before


def test_a_recording_that_holds_none_of_the_queries_is_told_by_the_exit_status(zerosearch: Any, place: Path) -> None:
    traces = place / "traces.jsonl"
    traces.write_text('{"query": "weather", "engine": "google", "results": [{"title": "a", "snippet": "b"}]}\n')
    pages = place / "none.jsonl"
    result = zerosearch(
        "record", str(place / "config.toml"), "--queries", str(place / "questions.jsonl"), "--out", str(pages),
        "--set", "engine.kind=recorded", "--set", f"engine.recorded.file={traces}",
    )  # fmt: skip
    assert result.code == 3
    assert result.line.endswith("none.jsonl: no page was recorded: recorded:google holds none for these queries")
    assert not pages.exists()
