"""A method of one's own: an async function of a session, named as package.module:Name."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from pathlib import Path

import pytest
from evaluation.scripted import QUESTION, atlas
from fakes import FakeChat

from zerosearch.errors import ConfigError
from zerosearch.evaluation.entrants import parse_methods
from zerosearch.evaluation.methods import Errors, MethodSettings, Session, find_method

CODE = """
async def twice(session):
    await session.search(session.question.text)
    await session.search("more")
    return await session.write("Now answer.")

def plain(session): return "x"

async def wants(session, more): return "x"
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_method.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_method", raising=False)
    return tmp_path / "own_method.py"


def test_it_is_played_like_any_other(own: Path) -> None:
    (spec,) = parse_methods("own_method:twice", "big")
    assert (spec.label, spec.method, spec.searches) == ("twice@big", "own_method:twice", True)
    method, engine = find_method(spec.method), atlas()
    session = Session(QUESTION, FakeChat("Kathmandu"), engine, MethodSettings(), Errors.limited(0.2))
    assert asyncio.run(method.run(session)) == "Kathmandu"
    assert engine.queries == [QUESTION.text, "more"]
    before = method.digest
    own.write_text(f"{CODE}\n# changed, so that older predictions are of another method\n")
    assert find_method(spec.method).digest != before


def test_the_method_of_the_page_on_own_parts_runs_as_it_stands() -> None:
    page = (Path(__file__).parents[3] / "docs" / "extend.md").read_text()
    block = page.partition("## How to add a method")[2].partition("or None:\n")[2].partition("\n`zerosearch")[0]
    Path("page_method.py").write_text(textwrap.dedent(block))
    method = find_method("page_method:ask_twice")
    session = Session(QUESTION, FakeChat("Kathmandu"), atlas(), MethodSettings(), Errors.limited(0.2))
    assert asyncio.run(method.run(session)) == "Kathmandu"


@pytest.mark.parametrize(
    ("name", "words"),
    [("plain", "is no async function"), ("wants", "missing a required argument"), ("twise", "did you mean twice")],
)
def test_what_is_no_method_is_one_line(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_methods(f"own_method:{name}")
