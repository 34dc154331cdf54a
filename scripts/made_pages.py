"""What a script that makes pages does when it is called: write them or, with `--check`, compare them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
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
