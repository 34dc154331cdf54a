"""What the scripts that make pages share: they write them or, with `--check`, compare them; tables and numbers."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def main(pages: Mapping[Path, Callable[[], str]], description: str | None) -> None:
    """Write each page, as its function makes it. With `--check` exits with a line for the first that differs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    for page, render in pages.items():
        made = render()
        if not check:
            page.parent.mkdir(exist_ok=True)
            page.write_text(made, encoding="utf-8")
        elif not page.exists() or page.read_text(encoding="utf-8") != made:
            sys.exit(f"{page.name} is not what it is made from: run python scripts/{Path(sys.argv[0]).name}")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


def short(value: float, digits: int = 3) -> str:
    """A number without the 0 before its point: .954, 1.000."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{value:.{digits}f}")
