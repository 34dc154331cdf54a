"""`zerosearch compare A B`: two evaluations question by question: who wins where, and whether it may be chance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.screen import console, json_text
from zerosearch.evaluation.comparison import compare_runs
from zerosearch.evaluation.comparison_text import markdown, rich_parts
from zerosearch.evaluation.results import one_run
from zerosearch.files.jsonl import atomic_write


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A file of predictions, a folder of one method, FOLDER:METHOD, RUN (its last evaluation) or RUN@STEP.",
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same for the other side.")],
    unlike: Annotated[
        bool,
        typer.Option(
            "--unlike", help="Compare unlike runs (other questions, engine, tries; failed rows) all the same."
        ),
    ] = False,
    examples: Annotated[
        int, typer.Option(min=0, metavar="N", help="Questions to show of those that each side won.")
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.md", help="Write it as Markdown, too.")] = None,
) -> None:
    """Two evaluations side by side: scores, differences with intervals, and the questions only one side got right.

    Differences are A - B over the same questions, with 95 % bootstrap intervals and the p value of a paired permutation
    test. Runs over other questions, with another engine, another number of tries or failed predictions are refused;
    --unlike compares the questions that both answered.
    """
    found = compare_runs(one_run(a), one_run(b), (a, b), allow_unlike=unlike, examples=examples)
    if out is not None:
        atomic_write(out, markdown(found).encode("utf-8", "replace"))
    if as_json:
        print(json_text(found.as_dict(), indent=2))
        return
    for part in rich_parts(found, console.width):
        console.print(part)
