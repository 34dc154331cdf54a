"""README is short, and its two languages say the same: headings, commands, numbers of tables, links and pictures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENGLISH, CHINESE = "README.md", "README.zh-CN.md"


def lines_of(name: str) -> list[str]:
    return (ROOT / name).read_text(encoding="utf-8").splitlines()


def code_and_prose(name: str) -> Iterator[tuple[bool, str]]:
    """Each line, and whether it is code: fenced, or indented by four blanks."""
    fenced = False
    for line in lines_of(name):
        fence = line.startswith("```")
        yield fenced or fence or line.startswith("    "), line
        fenced ^= fence


def headings(name: str) -> list[str]:
    """The level of each heading; its words are another language's."""
    return [line.split(" ")[0] for code, line in code_and_prose(name) if not code and re.match(r"#+ ", line)]


def commands(name: str) -> list[str]:
    """The lines of code without comments, which are translated."""
    found = (re.sub(r"(^|\s+)# .*", "", line).rstrip() for code, line in code_and_prose(name) if code)
    return [line for line in found if line]


def numbers(name: str) -> list[list[str]]:
    """The numbers of each row of a table, in order."""
    rows = (line for code, line in code_and_prose(name) if not code and line.startswith("|"))
    return [re.findall(r"[-+]?[\d,]*\.?\d+", re.sub(r"\]\([^)]*\)|`[^`]*`", "", row)) for row in rows]


def cells(name: str) -> list[int]:
    return [line.count("|") for code, line in code_and_prose(name) if not code and line.startswith("|")]


def quoted(name: str) -> list[str]:
    """What stands between backticks outside of code blocks: commands, settings and files, which stay as they are."""
    prose = "\n".join(line for code, line in code_and_prose(name) if not code)
    return sorted(re.findall(r"`([^`]+)`", prose))


def links(name: str) -> list[str]:
    """Targets of links, without the one to the other language."""
    found = re.findall(r"(?<!!)\[[^]]*\]\(([^)]+)\)", "\n".join(lines_of(name)))
    return [target for target in found if target not in (ENGLISH, CHINESE)]


def pictures(name: str) -> list[str]:
    found = re.findall(r'!\[[^]]+\]\(([^)]+)\)|<img src="([^"]+)"[^>]* alt="[^"]+"', "\n".join(lines_of(name)))
    return [inline or tag for inline, tag in found]


PARTS = [headings, commands, numbers, cells, quoted, links, pictures]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_the_two_languages_are_in_step(part: Callable[[str], list[object]]) -> None:
    assert part(ENGLISH)
    assert part(CHINESE) == part(ENGLISH)


def test_every_picture_is_there() -> None:
    assert [name for name in pictures(ENGLISH) if not (ROOT / name).is_file()] == []


def test_each_language_links_to_the_other_at_its_top_and_both_are_short() -> None:
    for name, other in ((ENGLISH, CHINESE), (CHINESE, ENGLISH)):
        assert f"]({other})" in "\n".join(lines_of(name)[:4])
        assert len(lines_of(name)) <= 200, name
