"""Write docs/reference/commands.md from the commands' own help texts.

python scripts/command_reference.py            # writes the page
python scripts/command_reference.py --check    # exit status 1 where the page is not what the code says
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from made_pages import main

from zerosearch.commands.app import load, named, option_row, shown, usage
from zerosearch.commands.listing import GROUPS, SUMMARIES

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "commands.md"
HEAD = """# Commands

What `zerosearch COMMAND --help` says, of every command. This page is made from the code by
`python scripts/command_reference.py`.

- CONFIG is a TOML file, or the name of a configuration that ships: `zerosearch init` lists them, and
  [Configuration](../configuration.md) explains every setting.
- An option whose value is `KEY=VALUE`, such as `--set`, may be given several times.
- `-h` and `--help` work everywhere and are not listed below. `zerosearch --version` prints the version.
- `zerosearch --install-completion` lets your shell complete commands and options.

## Exit status

| status | meaning |
|---|---|
| 0 | Done. |
| 1 | Something outside failed: a missing package, standard output. Of `check` and `doctor`: something is missing. |
| 2 | A setting, a file or an argument is wrong. |
| 3 | The work had to stop, or a part of it failed: a full disk, failed searches, a spent budget, an alarm. |
| 128 + N | Ended by signal N: 130 is Ctrl-C, 141 means that nobody reads the output any more. |

## Overview
"""


def render() -> str:
    """The whole page."""
    parts = [HEAD, "| command | what it does |", "|---|---|"]
    parts += [f"| [`{name}`](#zerosearch-{name}) | {cell(said)} |" for name, said in SUMMARIES.items()]
    for title, group in GROUPS.items():
        parts += ["", f"## {title}"]
        for name in group:
            parts += ["", f"### zerosearch {name}", "", *section(name)]
    return "\n".join(parts).rstrip() + "\n"


def section(name: str) -> list[str]:
    """Usage, help text, arguments and options of one command."""
    command = load(name)
    arguments, options = shown(command.params)
    lines = [
        f"    {usage(f'zerosearch {name}', arguments, options)}",
        "",
        *(ln if ln.startswith("    ") else escaped(ln) for ln in command.help.splitlines()),
    ]
    if arguments:
        lines += ["", *table("argument", ((named(p), p.help or "") for p in arguments))]
    if options:
        lines += ["", *table("option", map(option_row, options))]
    return lines


def table(title: str, rows: Iterable[tuple[str, Any]]) -> list[str]:
    return [
        f"| {title} | |",
        "|---|---|",
        *(f"| `{cell(name)}` | {escaped(cell(said))} |" for name, said in rows),
    ]


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def escaped(text: str) -> str:
    """`<` outside of code, where Markdown would take it for HTML."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*") for part in parts)


if __name__ == "__main__":
    main({PAGE: render}, __doc__)
