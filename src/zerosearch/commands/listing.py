"""The commands by name, and the first page of the help. It imports nothing heavy: a look at it takes no time."""

from __future__ import annotations

import shutil
import textwrap

from zerosearch.errors import nearest

GROUPS: dict[str, dict[str, str]] = {
    "Use it": {
        "init": "write your own configuration, starting from one that ships",
        "check": "show what a configuration means and needs, and the reward of a text",
        "train": "teach a policy to search",
        "ask": "ask a policy a question, and watch it search",
        "export": "write a policy for other programs: an adapter, merged weights, GGUF",
        "serve": "serve a search engine by URL, for any trainer",
        "data": "show the questions that ship, or any file of questions",
    },
    "Measure": {
        "evaluate": "run a model and baseline methods on benchmarks",
        "show": "show episodes of a run or an evaluation, in the terminal",
        "compare": "compare two evaluations, question by question, with a paired test",
        "report": "write runs and evaluations as one page: curves, tests, cost, every episode",
        "cost": "show what searching cost, and what Google would have charged",
    },
    "Make a simulator": {
        "collect": "let a policy answer questions with a real engine, and keep every page",
        "record": "keep what a real engine returns for many queries, with more documents",
        "label": "label each page as useful or noisy",
        "tune": "tune a model to write such pages, useful or noisy on demand",
        "refresh": "tune a run's simulator on what its policy asks by now: these four at once",
        "fidelity": "compare a simulator with the engine it imitates",
    },
    "Check the machine": {
        "doctor": "show what is installed, what is missing, and what to do",
        "models": "list the models and adapters that need no account",
        "bench": "measure what a training step costs here",
    },
}
SUMMARIES = {name: said for group in GROUPS.values() for name, said in group.items()}
KEEPING = {
    name: "what was written so far is kept"
    for name in ("train", "evaluate", "collect", "record", "label", "tune", "refresh")
}
"""What is said where one of these is stopped."""


def front_page(width: int | None = None) -> str:
    """`zerosearch --help`, for a terminal of `width` columns (None: as wide as it is)."""
    lines = [
        "Usage: zerosearch COMMAND [ARGUMENTS]",
        "",
        "Teach a language model to use a search engine, with a second language model playing the engine.",
        "",
        *(line for title, group in GROUPS.items() for line in [title, *rows(group, width, left=10), ""]),
        "CONFIG is a TOML file, or the name of a configuration that ships (`zerosearch init` lists them).",
        "`zerosearch COMMAND --help` shows its options. Others: --version, --install-completion, --show-completion.",
    ]
    return "\n".join(part for line in lines for part in wrapped(line, width)) + "\n"


def rows(pairs: dict[str, str], width: int | None = None, *, left: int = 0) -> list[str]:
    """Two columns, the first at least `left` wide, the second wrapped; a name too long has a line of its own."""
    width = columns(width)
    left = max(min(max(map(len, pairs), default=0), max(width // 3, 12)) + 2, left)
    lines: list[str] = []
    for name, said in pairs.items():
        parts = textwrap.wrap(said, max(width - left - 2, 20), break_on_hyphens=False) or [""]
        if len(name) + 2 > left:
            lines.append(f"  {name}")
            name = ""
        lines += [f"  {name:<{left}}{parts[0]}".rstrip(), *(f"  {'':<{left}}{part}" for part in parts[1:])]
    return lines


def wrapped(line: str, width: int | None = None) -> list[str]:
    """`line` as wide as the terminal; one that is indented is an example or a row, and stays as it is."""
    if line.startswith(" ") or not line:
        return [line]
    return textwrap.wrap(line, columns(width), break_on_hyphens=False, break_long_words=False)


def columns(width: int | None) -> int:
    """How wide help is: the terminal, and at most a hundred columns, which is as much as one reads with ease."""
    return min(width or shutil.get_terminal_size().columns, 100)


def unknown(name: str) -> str:
    """What to say of a command that does not exist."""
    return f"no such command: {name}{nearest(name, SUMMARIES)} (see zerosearch --help)"
