"""`zerosearch.label`: what the command writes, from Python, and what the judge could not say."""

from __future__ import annotations

from pathlib import Path

import pytest
from engines.conftest import Endpoint, Reply, completion, endpoint

from zerosearch import TrainConfig, label, load_config
from zerosearch.errors import ConfigError, DataError, FolderError, RunError
from zerosearch.files.jsonl import write_jsonl
from zerosearch.simulator.label import read_labels

__all__ = ["endpoint"]


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pages about the capital of Nepal: one with the answer, one without."""
    monkeypatch.chdir(tmp_path)
    question = {"id": "q", "question": "Capital of Nepal?", "golden_answers": ["Kathmandu"]}
    texts = {"capital of Nepal": "Kathmandu is the capital.", "Nepal": "A country in Asia."}
    write_jsonl(
        tmp_path / "pages.jsonl",
        ({**question, "query": query, "results": [{"title": "", "text": text}]} for query, text in texts.items()),
    )
    return tmp_path / "pages.jsonl"


def test_pages_are_labelled_and_written(recorded: Path) -> None:
    said: list[str] = []
    pages = label(load_config("demo"), recorded=recorded, out="labels.jsonl", say=said.append)
    assert [page.labels["containment"] for page in pages] == ["useful", "noisy"]
    assert list(read_labels(Path("labels.jsonl"))) == pages
    assert said == [f"{recorded}: 2 pages"]
    assert label(load_config("demo"), recorded=[str(recorded)] * 2, out=Path("labels.jsonl")) == pages * 2


def test_what_cannot_be_labelled_is_one_line(recorded: Path) -> None:
    config = load_config("demo")
    with pytest.raises(ConfigError, match="give a folder"):
        label(config)
    with pytest.raises(ConfigError, match="give a folder"):
        label(config, recorded=recorded)
    with pytest.raises(DataError, match="nowhere"):
        label(config, "nowhere", "labels.jsonl")
    with pytest.raises(FolderError):
        label(config, recorded=recorded, out=recorded)


def judged_by(endpoint: Endpoint) -> TrainConfig:
    judge = [f'label.judge.base_url="{endpoint.url}"', "label.judge.model=judge"]
    return load_config("demo", judge)


def test_a_judge_that_fails_is_an_error_once_the_rest_is_written(recorded: Path, endpoint: Endpoint) -> None:
    endpoint.script = [Reply(body=completion("yes")), Reply(status=400)]
    with pytest.raises(RunError, match="asks again for the verdicts that lack"):
        label(judged_by(endpoint), recorded=recorded, out="labels.jsonl")
    assert [page.labels.get("judge") is None for page in read_labels(Path("labels.jsonl"))].count(True) == 1
    endpoint.script, before = [Reply(body=completion("no"))], len(endpoint.requests)
    pages = label(judged_by(endpoint), recorded=recorded, out="labels.jsonl")
    assert len(endpoint.requests) == before + 1
    assert sorted(page.labels["judge"] for page in pages) == ["noisy", "useful"]
