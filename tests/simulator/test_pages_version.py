"""Pages that are made otherwise are told from older ones: no run, recording or evaluation takes both."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest
from fakes import FakeChat

from zerosearch.files.identity import differences, digest_of
from zerosearch.simulator import engine
from zerosearch.simulator.engine import SimulatedEngine

VERSION = 2
CODE = {
    "decided": "2f4ca209e7c5e671",
    "engine": "0dcf62b3136f0138",
    "hits": "ed7c730ee0a8c659",
    "page_text": "8f1c1375d59edb52",
    "passages": "b6b8f65e777f30cd",
    "prompts": "1c3b46d528c4b711",
    "style": "b1db8b0ce5ce1408",
    "worlds": "40697a6f1ab6ccd9",
}
"""The code that pages of this version are made with: the engine's, and all of the simulator that it imports."""


def read(module: str) -> str:
    return Path(engine.__file__).with_name(f"{module}.py").read_text(encoding="utf-8")


def modules() -> set[str]:
    """The engine and the modules beside it that it imports, and that these import."""
    found, left = set[str](), ["engine"]
    while left:
        found.add(module := left.pop())
        imports = [node.module or "" for node in ast.walk(ast.parse(read(module))) if isinstance(node, ast.ImportFrom)]
        beside = {name.removeprefix("zerosearch.simulator.") for name in imports if "zerosearch.simulator." in name}
        left += beside - found
    return found


def code(source: str) -> str:
    """Source without comments, docstrings and white space. (What `ast` prints differs between versions of Python.)"""
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "".join("".join(lines).split())


def test_code_that_makes_pages_does_not_change_under_one_version() -> None:
    now = {module: digest_of(code(read(module))) for module in sorted(modules())}
    changed = ", ".join(f"{name}.py" for name in sorted(now.keys() | CODE.keys()) if now.get(name) != CODE.get(name))
    assert (engine.PAGES_VERSION, now) == (VERSION, CODE), (
        f"{changed or 'PAGES_VERSION'} changed. If a page may now be another one, raise PAGES_VERSION in "
        f"simulator/engine.py by 1. Then write here: VERSION = {engine.PAGES_VERSION}, CODE = {now}"
    )


def test_a_comment_is_no_change_and_a_rate_is_one() -> None:
    source = '"""What it is."""\nRATE = 0.6  # measured\n"""How often."""\n'
    assert code(source) == code(source.replace("measured", "new")) == code(source.replace("How", "So")) == "RATE=0.6"
    assert code(source) != code(source.replace("0.6", "0.5"))


def test_another_version_is_another_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = SimulatedEngine(FakeChat(lambda _: "")).identity
    monkeypatch.setattr(engine, "PAGES_VERSION", VERSION + 1)
    after = SimulatedEngine(FakeChat(lambda _: "")).identity
    assert differences(before, after) == [f"pages_version {VERSION} and {VERSION + 1}"]
