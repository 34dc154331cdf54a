"""The files in the package: whole, in place, and a damaged one is said."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from zerosearch.errors import ConfigError, DataError
from zerosearch.factbook import corpus_path, factbook_rows, manifest, shipped
from zerosearch.factbook.queries import KINDS, factbook_queries


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_corpus_is_unpacked_once_and_again_where_it_was_damaged(cache: Path) -> None:
    path = corpus_path()
    whole = path.read_bytes()
    assert hashlib.sha256(whole).hexdigest() == manifest()["files"]["corpus.jsonl"]["sha256"]
    before = path.stat().st_mtime_ns
    assert corpus_path().stat().st_mtime_ns == before
    path.write_bytes(whole[:1000])
    assert corpus_path().read_bytes() == whole
    assert [file.name for file in path.parent.iterdir()] == ["corpus.jsonl"]


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"corpus\.jsonl: could not be written"):
        corpus_path()


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"", None])
def test_a_damaged_package_is_said(monkeypatch: pytest.MonkeyPatch, damage: object) -> None:
    whole = shipped._packed("dev.jsonl.zst")
    other = shipped._packed("test.jsonl.zst")
    manifest()
    monkeypatch.setattr(shipped, "_packed", lambda name: damage(whole) if callable(damage) else other)
    with pytest.raises(DataError, match=r"dev\.jsonl in the installed package is damaged .*zerosearch-rl"):
        factbook_rows("factbook:dev")


def test_the_splits_and_their_halves() -> None:
    counts = {split: len(factbook_rows(f"factbook:{split}")) for split in ("train", "dev", "test")}
    assert counts == {"train": 6000, "dev": 400, "test": 1000}
    assert {row.hops for row in factbook_rows("factbook:dev:two-hop")} == {2}
    assert factbook_rows("factbook:test")[0].id == "factbook-2-cg-prime_minister-symbol"


@pytest.mark.parametrize("source", ["factbook:", "factbook:trian", "factbook:dev:", "factbook:dev:three-hop"])
def test_a_name_that_is_none_is_refused(source: str) -> None:
    with pytest.raises(ConfigError, match=f"{source}: write factbook:train"):
        factbook_rows(source)


def test_queries_of_all_kinds_and_the_bridge_of_a_first_hop() -> None:
    queries = factbook_queries("factbook:dev", 60)
    assert {kind for _, _, kind, _, _ in queries} == set(KINDS)
    for _, question, kind, bridge, others in queries:
        assert bool(bridge) == (kind == "first_hop") == bool(others)
        assert kind != "first_hop" or bridge not in question.text
