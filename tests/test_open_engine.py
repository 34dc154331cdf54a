"""From the configuration to an engine: the cache stands before the engine and behind the snippets."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from zerosearch.config import TrainConfig
from zerosearch.engines.config import EngineConfig
from zerosearch.episodes.search import Document, SearchEngine, SearchPage, SearchRequest
from zerosearch.errors import ConfigError
from zerosearch.parts import Parts

TEXT = "Nepal is a state. Kathmandu is its capital. It has eight of the ten highest mountains of the world."


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "countries.jsonl"
    path.write_text(json.dumps({"id": "np", "title": "Nepal", "text": TEXT}) + "\n")
    return path


def opened(**values: Any) -> SearchEngine:
    return Parts(TrainConfig()).open_engine(EngineConfig.model_validate(values))


def ask(engine: SearchEngine, query: str) -> SearchPage:
    return asyncio.run(engine.search(SearchRequest(query, 3)))


def test_pages_are_kept_whole_and_snippets_are_cut_from_them(corpus: Path, tmp_path: Path) -> None:
    settings = {"kind": "bm25", "bm25": {"corpus": str(corpus)}, "cache": str(tmp_path / "pages.sqlite")}
    cut = ask(opened(**settings, snippet_words=5), "capital Kathmandu")
    whole = ask(opened(**settings), "capital Kathmandu")
    assert cut.documents[0].text == "Kathmandu is its capital."
    assert whole.documents[0].text == TEXT
    assert (cut.cached, whole.cached) == (False, True)


def test_other_parameters_of_an_engine_do_not_get_its_pages(corpus: Path, tmp_path: Path) -> None:
    settings = {"kind": "bm25", "bm25": {"corpus": str(corpus)}, "cache": str(tmp_path / "pages.sqlite")}
    assert not ask(opened(**settings), "Nepal").cached
    assert not ask(opened(**settings | {"bm25": {"corpus": str(corpus), "k1": 1.2}}), "Nepal").cached
    assert ask(opened(**settings), "Nepal").cached


def test_a_cache_becomes_a_recorded_engine(corpus: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "pages.sqlite")
    page = ask(opened(kind="bm25", bm25={"corpus": str(corpus)}, cache=path), "capital of Nepal")
    recorded: dict[str, Any] = {"kind": "recorded", "recorded": {"file": path}}
    nearest = {"kind": "recorded", "recorded": {"file": path, "match": "nearest"}}
    assert ask(opened(**recorded), "capital of Nepal").documents == page.documents
    assert ask(opened(**recorded), "Nepal's capitals").documents == ()
    assert ask(opened(**nearest), "Nepal's capitals").documents == page.documents


class Echo:
    """An engine of a user's own."""

    name = "echo"

    def __init__(self, loud: bool = False) -> None:
        self.identity, self.loud = f"echo loud={loud}", loud

    async def search(self, request: SearchRequest) -> SearchPage:
        text = request.query.upper() if self.loud else request.query
        return SearchPage((Document("Echo", text),), self.name)


class NoEngine:
    """Has no `search`."""


def test_ones_own_class_is_an_engine_with_settings_and_cache(tmp_path: Path) -> None:
    engine = opened(kind=f"{__name__}:Echo", settings={"loud": True}, cache=str(tmp_path / "pages.sqlite"))
    assert ask(engine, "nepal").documents == (Document("Echo", "NEPAL"),)
    assert ask(engine, "nepal").cached


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"kind": "no.such_module:Echo"}, "engine.kind: no.such_module:Echo: there is no module no (looked for in"),
        ({"kind": f"{__name__}.inside:Echo"}, f"there is no module {__name__}.inside"),
        ({"kind": f"{__name__}:Ecco"}, f"{__name__} has no Ecco; did you mean Echo?"),
        ({"kind": f"{__name__}:TEXT"}, "is str, not a function or a class"),
        ({"kind": f"{__name__}:NoEngine"}, "has no name, which a SearchEngine needs"),
        (
            {"kind": f"{__name__}:Echo", "settings": {"lout": 1}},
            f"engine.settings of {__name__}:Echo: got an unexpected keyword argument 'lout'; it is Echo(loud: 'bool'",
        ),
    ],
    ids=["module", "inner module", "name", "no class", "no engine", "signature"],
)
def test_what_is_wrong_with_ones_own_class_is_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        opened(**values)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import not_installed_here", "needs the module not_installed_here, which is not installed"),
        ("x = 1 / 0", "cannot be imported (ZeroDivisionError: division by zero)"),
        ("def broken(:", "cannot be imported (SyntaxError: "),
    ],
)
def test_a_module_that_fails_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "their_engine.py").write_text(source)
    monkeypatch.chdir(tmp_path)  # the current folder is searched
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ConfigError) as caught:
        opened(kind="their_engine:Engine")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
