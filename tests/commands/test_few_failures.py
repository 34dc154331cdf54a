"""One search that failed is enough to be told why, and for a status other than 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engines.conftest import Reply, completion

REASON = "Invalid API key. Your API key should be here."


@pytest.fixture
def wrong_key(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings of a search service that refuses the key, and of a policy that searches once; both at one address."""
    monkeypatch.setenv("SERPAPI_API_KEY", "0123456789abcdef")

    def answer(body: dict[str, Any]) -> Any:
        if "messages" not in body:
            return Reply(401, json.dumps({"error": REASON}).encode())
        return Reply(body=completion("<think>x</think><search>capital of Nepal</search>"))

    endpoint.answer = answer
    settings = {
        "engine.kind": "serpapi",
        "engine.serpapi.url": endpoint.url,
        "model.name": "m",
        "model.base_url": endpoint.url,
        "logging.tensorboard": "false",
    }
    return [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "c.toml"
    path.write_text("[protocol]\nmax_searches = 1\n[engine]\nattempts = 1\n")
    return str(path)


def test_record_says_why_and_names_no_file_that_is_not_there(
    zerosearch: Any, tmp_path: Path, questions_file: Path, config: str, wrong_key: list[str]
) -> None:
    out = tmp_path / "o.jsonl"
    done = zerosearch("record", config, "--queries", str(questions_file), "--limit", "1", "--out", str(out), *wrong_key)
    assert done.code == 3
    assert "0 of 1 query recorded" in done.out
    assert "next:" not in done.out
    assert "1 of 1 searches failed (refused 1); the last one: serpapi" in done.err or REASON[:-1] in done.err
    assert "is the key in SERPAPI_API_KEY right?" in done.err
    assert ".. " not in done.err
    assert not out.exists()


def test_collect_says_why(
    zerosearch: Any, tmp_path: Path, questions_file: Path, config: str, wrong_key: list[str]
) -> None:
    asked = ("collect", config, "--questions", str(questions_file), "--limit", "1", "--out", str(tmp_path / "c"))
    done = zerosearch(*asked, *wrong_key)
    assert done.code == 3
    assert REASON[:-1] in done.err
    assert "next:" not in done.out


def test_label_says_that_recordings_name_no_question(zerosearch: Any, tmp_path: Path) -> None:
    path = tmp_path / "recorded.jsonl"
    path.write_text('{"query": "capital of Nepal", "engine": "google", "results": [{"snippet": "Kathmandu"}]}\n')
    done = zerosearch("label", "demo", "--recorded", str(path), "--out", str(tmp_path / "l.jsonl"))
    assert done.code == 2
    assert "no row has `question` and `golden_answers`, by which pages are labelled" in done.line
    assert "does the policy search?" not in done.err
