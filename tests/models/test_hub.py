"""A hub id without a network: one quiet try, and a line with the way out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from zerosearch.errors import ModelError
from zerosearch.models.hub import only_here


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """`hub(endpoint)`: a hub at that address, and an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    return lambda endpoint: monkeypatch.setattr(constants, "ENDPOINT", endpoint)


def test_a_hub_that_nobody_answers_for_is_one_line(hub: Any, capfd: pytest.CaptureFixture[str]) -> None:
    hub("http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(
        ModelError, match=r"someone/model: it is not on this machine, .*the folder of a model, or smollm2"
    ):
        only_here("someone/model")
    assert time.monotonic() - started < 5
    assert capfd.readouterr() == ("", "")


def test_a_hub_that_answers_is_asked_whatever_it_says(hub: Any, endpoint: Any) -> None:
    hub(endpoint.url)
    assert only_here("someone/model") is False


def test_a_folder_is_never_asked_for(hub: Any, tmp_path: Path) -> None:
    hub("http://127.0.0.1:9")
    assert only_here(str(tmp_path)) is True


def test_without_the_hub_what_is_here_is_used(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub("http://127.0.0.1:9")
    snapshot = tmp_path / "models--someone--model" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (tmp_path / "models--someone--model" / "refs").mkdir()
    (tmp_path / "models--someone--model" / "refs" / "main").write_text("abc")
    assert only_here("someone/model") is True
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        only_here("someone/other")
