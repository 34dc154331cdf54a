"""`zerosearch serve` as a process: what it says, how it ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from engines.passages import write_corpus
from serve_process import start


def configuration(folder: Path) -> Path:
    corpus = write_corpus(folder / "corpus.jsonl", [("np", "Nepal", "Kathmandu is the capital of Nepal.")])
    path = folder / "served.toml"
    path.write_text(f'[engine]\nkind = "bm25"\n[engine.bm25]\ncorpus = "{corpus}"\n')
    return path


def test_it_serves_and_a_sigterm_ends_it_with_0(tmp_path: Path) -> None:
    process, url, _ = start(str(configuration(tmp_path)), ZEROSEARCH_CACHE=str(tmp_path / "cache"))
    try:
        with httpx.Client(base_url=url, trust_env=False) as client:
            [[row]] = client.post("/retrieve", json={"query": "nepal"}).json()["result"]
            assert row["id"] == "np"
            assert "/e/{id}/retrieve" in client.get("/openapi.json").json()["paths"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()


def test_a_key_from_the_environment_is_asked_for(tmp_path: Path) -> None:
    config = str(configuration(tmp_path))
    process, url, log = start(config, ZEROSEARCH_CACHE=str(tmp_path / "cache"), ZEROSEARCH_API_KEY="only-for-friends-1")
    try:
        with httpx.Client(base_url=url, trust_env=False) as client:
            assert client.post("/retrieve", json={"query": "nepal"}).status_code == 401
            answer = client.post("/retrieve?api_key=only-for-friends-1", json={"query": "nepal"})
            assert answer.status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert "only-for-friends-1" not in str(log)
    finally:
        process.kill()


def test_beyond_loopback_without_a_key_it_does_not_start(
    tmp_path: Path, zerosearch: Callable[..., Any], monkeypatch: Any
) -> None:
    monkeypatch.delenv("ZEROSEARCH_API_KEY", raising=False)
    result = zerosearch("serve", str(configuration(tmp_path)), "--set", "serve.host=0.0.0.0")
    assert result.code == 2
    assert "ZEROSEARCH_API_KEY" in result.line


def test_an_option_that_stdio_would_ignore_is_refused(tmp_path: Path, zerosearch: Callable[..., Any]) -> None:
    result = zerosearch("serve", str(configuration(tmp_path)), "--stdio", "--port", "8000")
    assert (result.code, result.line) == (2, "error: --stdio listens on no port: leave --port and --open away")
