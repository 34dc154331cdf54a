"""How the scripts of this folder take their arguments, and what they say where something is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable

from zerosearch.errors import ZeroSearchError


def arguments(doc: str | None, least: int, *, more: bool = False) -> list[str]:
    """The words of the command line: `least`, or `more`. Ends the script with `doc` where it is asked for, or where the
    number is wrong.
    """
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(doc)
        sys.exit(0)
    if len(words) < least or (len(words) > least and not more):
        print(doc, file=sys.stderr)
        sys.exit(2)
    return words


def run(main: Callable[[], object]) -> None:
    """Run `main`; a file that is not there or is no data, or a refusal of zerosearch, is one line and status 1."""
    try:
        main()
    except (ZeroSearchError, OSError) as error:
        sys.exit(f"error: {error}")
