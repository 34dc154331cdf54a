"""What every question got, without its text: python scores.py OUT.csv.gz NAME=FOLDER:METHOD ...

A row is a question: benchmark, id, whether it compares (`kinds.left_out`), and for each NAME its EM, F1, searches and
whether a page held the answer (empty where that cannot be told, as of yes and no). Every NAME must have been asked the
same questions.
"""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

from kinds import left_out, read
from script import arguments, run

from zerosearch.errors import DataError


def main() -> None:
    out, *specs = arguments(__doc__, 2, more=True)
    asked = {name: read(spec) for name, _, spec in (spec.partition("=") for spec in specs)}
    first = next(iter(asked.values()))
    if any(tries.keys() != first.keys() for tries in asked.values()):
        raise DataError("the evaluations are not of the same questions")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    measures = ("em", "f1", "searches", "held")
    rows.writerow(["benchmark", "id", "compares", *(f"{name} {measure}" for name in asked for measure in measures)])
    for place in sorted(first):
        cells: list[str | int] = [*place, int(left_out(first[place][0]))]
        for tries in asked.values():
            row = tries[place][0]
            cells += [
                int(row.em),
                f"{row.f1:.3g}",
                len(row.searches),
                "" if row.saw_answer is None else int(row.saw_answer),
            ]
        rows.writerow(cells)
    Path(out).write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    print(f"{out}: {len(first)} questions")


if __name__ == "__main__":
    run(main)
