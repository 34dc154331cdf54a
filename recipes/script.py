"""How the scripts of these folders take numbers, and how they end where something is wrong."""

from __future__ import annotations

import sys
from argparse import ArgumentTypeError
from collections.abc import Callable
from math import inf
from typing import TypeVar

from zerosearch.errors import ZeroSearchError

N = TypeVar("N", int, float)


def at_least(least: N, what: str = "") -> Callable[[str], N]:
    """A `type` for argparse, which says of `what` itself: a number of at least `least`, and whole where that is."""
    kind, name = type(least), "a whole number" if isinstance(least, int) else "a number"

    def number(word: str) -> N:
        try:
            if least <= (value := kind(word)) < inf:
                return value
        except ValueError:
            pass
        raise ArgumentTypeError(f"{what}{word!r} is not {name} of at least {least:g}")

    return number


def run(main: Callable[[], object]) -> None:
    """Run `main`; a file that is not there or is no data, or a refusal of zerosearch, is one line and status 1."""
    try:
        main()
    except (ArgumentTypeError, ZeroSearchError, OSError) as error:
        sys.exit(f"error: {error}")
