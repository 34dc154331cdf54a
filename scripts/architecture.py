"""Write the tree of docs/architecture.md from the modules' docstrings: `python scripts/architecture.py [--check]`."""

from __future__ import annotations

import ast
from pathlib import Path

from made_pages import main

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "zerosearch"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: scripts/architecture.py -->", "<!-- end of tree -->"
LONGEST = 120
ORDER = (
    "commands", "scaleout", "", "serving", "learning", "reports", "evaluation", "simulator", "factbook", "engines",
    "models", "spending", "episodes", "files", "process",
)  # fmt: skip
"""The rooms from the top down; "" is the top floor."""


def tree() -> str:
    """A heading a room and a line a file."""
    rooms = {path.parent for path in PACKAGE.rglob("*.py")}
    named = {"" if room == PACKAGE else str(room.relative_to(PACKAGE)): room for room in rooms}
    order = sorted(named, key=lambda name: (ORDER.index(name.partition("/")[0]), name))
    return "\n".join(line for name in order for line in _room(name, named[name]))


def _room(name: str, folder: Path) -> list[str]:
    init = folder / "__init__.py"
    lines = ["", f"### `{name}/`" if name else "### The top floor", ""]
    if name:
        lines += [first_line(init), ""]
    files = sorted(file for file in folder.glob("*.py") if file != init and file.name != "__main__.py")
    if not files:
        return lines[:-1]
    return [*lines, "| file | |", "|---|---|", *(f"| `{file.name}` | {first_line(file)} |" for file in files)]


def first_line(file: Path) -> str:
    """The first paragraph of a module's docstring, or the first sentence of a long one."""
    text = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    line = " ".join(text.split()).replace("|", "\\|")
    return line if len(line) <= LONGEST else line.split(". ")[0].rstrip(".") + "."


def render() -> str:
    """The page with its tree made anew."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    return f"{before}{BEGIN}\n{tree()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    main({PAGE: render}, __doc__)
