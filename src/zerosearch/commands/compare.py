"""`zerosearch compare A B`: two evaluations question by question: which is better, and whether it may be chance."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerosearch.commands.screen import console, json_text
from zerosearch.evaluation.comparison import compare_runs
from zerosearch.evaluation.comparison_text import is_comparison, markdown, rich_parts
from zerosearch.evaluation.results import runs_of
from zerosearch.files.folders import check_file
from zerosearch.files.jsonl import atomic_write


def compare(
    a: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A file of predictions, a folder of one method, FOLDER:METHOD, RUN (its last evaluation) or RUN@STEP; "
            "several with commas between them, such as three seeds: their mean.",
        ),
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="The same for the other side.")],
    unlike: Annotated[
        bool,
        typer.Option("--unlike", help="Compare runs that differ in questions, engine or tries, or have failed rows."),
    ] = False,
    examples: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of questions to show that only one side got right.")
    ] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE.md", help="Also write the comparison as Markdown.")] = None,
) -> None:
    """Compare two evaluations: scores, differences with intervals, and the questions only one side got right.

    Differences are A - B over the same questions, with 95 % bootstrap intervals and the p value of a paired
    permutation test. Evaluations with other questions, another engine, another number of tries or failed
    predictions are refused; --unlike compares the questions that both answered.
    """
    if out is not None:
        check_file(out, is_comparison)
    found = compare_runs(runs_of(a), runs_of(b), (a, b), allow_unlike=unlike, examples=examples)
    if out is not None:
        atomic_write(out, markdown(found).encode("utf-8", "replace"))
    if as_json:
        print(json_text(found.as_dict(), indent=2))
        return
    for part in rich_parts(found, console.width):
        console.print(part)
