"""The code blocks of the documentation parse: TOML, YAML, JSON, Python. Blocks whose lines were joined do not."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from doc_commands import ROOT, pages


def passages(page: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each passage of code without an empty line in it, indented or between fences."""
    fenced, block, start = False, [], 0
    for number, line in enumerate([*page.read_text(encoding="utf-8").splitlines(), ""], 1):
        fence = line.lstrip().startswith("```")
        fenced ^= fence
        if line.strip() and not fence and (fenced or line.startswith("    ")):
            start = start if block else number
            block.append(line if fenced else line[4:])
        elif block:
            yield start, "\n".join(block)
            block = []


def _json(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        for line in text.splitlines():
            json.loads(line)


KINDS: dict[str, Callable[[str], object]] = {  # by its first line that is no comment
    r"\[\[?[a-z][\w.]*\]\]?$|\w+ = ([\"\[{\d]|true$|false$)": tomllib.loads,
    r"[\w-]+:$|- \w+:": yaml.safe_load,
    r'\{"': _json,
    r"(from|import|async|def|class) |@": ast.parse,
}


def problem(text: str) -> str | None:
    """What the parser of its kind says; None also where the kind is not known, or parts are left out (`...`)."""
    first = next((line for line in text.splitlines() if not line.startswith("#")), "")
    parse = next((parse for kind, parse in KINDS.items() if re.match(kind, first)), None)
    if parse is None or (parse is _json and "..." in text):
        return None
    try:
        parse(text)
    except (ValueError, SyntaxError, yaml.YAMLError) as error:
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_parse(page: Path) -> None:
    wrong = [f"{page.name}:{line}: {said}" for line, text in passages(page) if (said := problem(text)) is not None]
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "# tools.yaml\ntools:\n  - class_name: a.Tool config: {type: native,\n    noise: 0.25}",
        '[engine]\nkind = "bm25" top_k = 3',
        '{"id": "q1", "golden_answers": ["Jane\nAusten"]}',
        "import asyncio from zerosearch\nimport ask",
    ],
)
def test_a_block_whose_lines_were_joined_is_found(text: str) -> None:
    assert problem(text) is not None
