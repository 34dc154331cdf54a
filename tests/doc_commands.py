"""The commands that the documentation shows, found in its code blocks, its inline code and the shipped configurations.

A *block* command is a line that a reader copies. *Inline* code may be a mention (`zerosearch train --seeds`), where an
argument or a value may be missing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACES = ("README*.md", "CONTRIBUTING.md", "docs/**/*.md", "benchmarks/*.md", "recipes/**/*.md", "examples/**/*.md")
PROGRAMS = ("zerosearch", "make", "python", "accelerate", "torchrun", "bash", "scripts/make_simulator.sh")
_ENDS = {"|", "<", ">", "&", "&&", ";"}
_NOT_SHELL = {"python", "json", "toml", "text", "html", "yaml", "mermaid"}


@dataclass(frozen=True)
class Shown:
    """`words` as a shell would split them, and where they stand."""

    words: tuple[str, ...]
    file: Path
    line: int
    inline: bool = False

    @property
    def text(self) -> str:
        return shlex.join(self.words)

    @property
    def place(self) -> str:
        return f"{self.file.relative_to(ROOT) if self.file.is_relative_to(ROOT) else self.file}:{self.line}"


def pages(root: Path = ROOT) -> list[Path]:
    """All pages but those that are made from the commands themselves."""
    return sorted({page for place in PLACES for page in root.glob(place) if page.parent.name != "reference"})


def configurations(root: Path = ROOT) -> list[Path]:
    """TOML files whose comments say how to use them."""
    return sorted([*root.glob("src/zerosearch/configs/**/*.toml"), *root.glob("recipes/**/*.toml")])


def shown_in_page(page: Path) -> list[Shown]:
    """Every command of a Markdown page, in its order."""
    found: list[Shown] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    block: list[tuple[int, str]] = []
    fence: str | None = None
    for number, line in enumerate([*lines, "end"], 1):
        mark = re.match(r"\s*```(\w*)", line)
        if mark:
            found += _commands(block, page)
            block, fence = [], (mark[1] if fence is None else None)
        elif fence is not None:
            block += [(number, line)] if fence not in _NOT_SHELL else []
        elif line.startswith("    ") or (not line and block):
            block.append((number, line))
        else:
            found += _commands(block, page)
            block = []
            for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", line):
                found += _split(code.replace("\\|", "|"), page, number, inline=True)
    return found


def shown_in_configuration(file: Path) -> list[Shown]:
    """Every command in the comments of a TOML file."""
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
    return _commands([(number, line[1:]) for number, line in lines if line.startswith("#     ")], file)


def _commands(block: list[tuple[int, str]], file: Path) -> Iterator[Shown]:
    """The commands of a code block; a line that ends with a backslash goes on in the next one."""
    rest = iter(block)
    for number, line in rest:
        text = line.strip().removeprefix("$ ")
        while text.endswith("\\"):
            text = f"{text[:-1]} {next(rest, (0, ''))[1].strip()}"
        yield from _split(text, file, number)


def _split(text: str, file: Path, line: int, inline: bool = False) -> Iterator[Shown]:
    """The commands of one line, without comment, redirections and `NAME=value` in front."""
    if not re.match(rf"([A-Z_]+=\S*\s+)*(\S*/)?({'|'.join(map(re.escape, PROGRAMS))})(\s|$)|.*&& ", text):
        return
    try:
        words = shlex.split(text, comments=not inline)
    except ValueError:  # prose with an apostrophe
        return
    if inline:  # a synopsis: what is in brackets may be left out
        words = [word.strip("[]") if word[:1] == "[" or word[-1:] == "]" else word for word in words]
    part: list[str] = []
    skip = False
    for word in [*words, ";"]:
        if word in _ENDS:
            if word in {"<", ">"}:
                skip = True
            elif (command := _command(part)) is not None:
                yield Shown(command, file, line, inline)
                part = []
            else:
                part = []
        elif skip:
            skip = False
        else:
            part.append(word)


def _command(words: list[str]) -> tuple[str, ...] | None:
    """`words` from the program's name on; None where they are none of ours. `...` after the last option is dropped."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if not words:
        return None
    program = words[0].rpartition("/")[2] if words[0].startswith((".venv", "verl/")) else words[0]
    if program not in PROGRAMS:
        return None
    kept = [word for n, word in enumerate(words) if word != "..." or words[n - 1].startswith("--")]
    return (program, *kept[1:])
