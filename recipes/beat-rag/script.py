"""How the scripts of this folder take their words. They are run by their path: this lets them find `recipes`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
from recipes.script import at_least, run
from recipes.stages import EVALUATION, MINUTES, Runner, Stage, carry_out

__all__ = ["EVALUATION", "MINUTES", "Runner", "Stage", "arguments", "at_least", "carry_out", "run"]


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
