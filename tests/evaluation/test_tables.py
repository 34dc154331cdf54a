"""Tables of results: every cell with its interval, averages over whole rows only, nothing unlike side by side."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from evaluation.made import made, predict, questions
from rich.console import Console

from zerosearch.episodes.predictions import append_prediction, read_predictions
from zerosearch.episodes.statistics import average
from zerosearch.errors import DataError
from zerosearch.evaluation.results import find_results, question_values
from zerosearch.evaluation.tables import (
    behaviour,
    build_table,
    describe_behaviour,
    markdown,
    other_scores,
    rich_tables,
    scores,
)
from zerosearch.evaluation.text_table import TextTable
from zerosearch.usage import Usage


def test_a_table_holds_every_cell_and_both_averages(tmp_path: Path) -> None:
    one, two = made(tmp_path, [1, 0, 0, 0]), made(tmp_path, [1, 1], benchmark="bamboogle", asked=questions(2, "b"))
    table = build_table([two, one])
    (row,) = table.rows
    assert list(table.benchmarks.items()) == [("nq", 4), ("bamboogle", 2)]  # the paper's order
    strata = [question_values(one, "em"), question_values(two, "em")]
    assert row.cells == {"nq": average([strata[0]]), "bamboogle": average([strata[1]])}
    assert (row.macro, row.micro) == (average(strata), average(strata, macro=False))
    assert row.macro is not None
    assert row.micro is not None
    assert (row.macro.value, row.micro.value) == (0.625, 0.5)
    assert json.loads(json.dumps(table.as_dict()))["rows"][0]["cells"]["nq"]["value"] == 0.25


def test_a_row_without_every_benchmark_has_no_average(tmp_path: Path) -> None:
    files = [
        made(tmp_path, [1, 0]),
        made(tmp_path, [1, 1], benchmark="bamboogle"),
        made(tmp_path, [1, 1], method="direct"),
    ]
    rag, direct = build_table(files).rows
    assert rag.macro is not None
    assert (direct.cells["bamboogle"], direct.macro, direct.micro) == (None, None, None)
    assert "| direct | 100.0 [15.8, 100.0] | - | - | - |" in markdown(build_table(files))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine": "serper"}, "engine bm25:x and serper"),
        ({"top_k": 3}, "top_k 5 and 3"),
        ({"asked": questions(2, "z")}, "other questions"),
        ({"samples": 2, "right": [1, 1, 0, 0]}, "samples 1 and 2"),
        ({"right": [1, None]}, "lacks 1 of its predictions"),
        ({"benchmark": "popqa", "engine": "serper"}, "engine bm25:x and serper"),
    ],
)
def test_unlike_results_are_not_put_together_unless_asked_for(tmp_path: Path, changes: dict, words: str) -> None:
    right = changes.pop("right", [1, 0])
    files = [made(tmp_path, [1, 0]), made(tmp_path, right, method="react", **changes)]
    with pytest.raises(DataError) as caught:
        build_table(files)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    table = build_table(files, allow_unlike=True)
    assert words in "".join(table.notes)
    assert "Unlike results" in markdown(table)


def test_a_method_that_never_searches_goes_with_any_engine(tmp_path: Path) -> None:
    files = [made(tmp_path, [1, 0], engine="none", top_k=0, method="direct"), made(tmp_path, [1, 0])]
    table = build_table(files)
    assert table.notes == ()
    assert "Unlike" not in markdown(table)


def test_what_cannot_be_a_table_is_said(tmp_path: Path) -> None:
    one = made(tmp_path / "a", [1, 0])
    with pytest.raises(DataError, match="both are rag on nq"):
        build_table([one, made(tmp_path / "b", [0, 0])], allow_unlike=True)
    with pytest.raises(DataError, match="no predictions"):
        build_table([])
    with pytest.raises(DataError, match="holds no predictions yet"):
        build_table([made(tmp_path / "c", [None, None])], allow_unlike=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "questions.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(DataError, match="no files of predictions"):
        find_results(str(tmp_path / "empty"))


def test_other_metrics_and_several_tries(tmp_path: Path) -> None:
    file = made(tmp_path, [1, 0, 0, 0, 0, 0], samples=3)  # 1 of 3, and 0 of 3
    assert question_values(file, "em").tolist() == [pytest.approx(1 / 3), 0]
    assert question_values(file, "pass@1").tolist() == [pytest.approx(1 / 3), 0]
    assert question_values(file, "pass@2").tolist() == [pytest.approx(2 / 3), 0]
    assert question_values(file, "cover_em").tolist() == [1, 1]
    assert question_values(file, "f1").tolist() == [pytest.approx((1 + 0.8 + 0.8) / 3), pytest.approx(0.8)]
    assert "pass@3 in percent of 3 tries" in markdown(build_table([file]))


def test_all_scores_are_in_the_tables(tmp_path: Path) -> None:
    small = questions(2, "b")
    files = [
        made(tmp_path, [1, 0, 0, 0, 0, 0], samples=3),
        made(tmp_path, [1, 1, 0, 0, 0, 1], samples=3, benchmark="bamboogle", asked=small),
    ]
    table = build_table(files)
    assert [other.metric for other in table.more] == ["f1", "cover_em", "pass@3"]
    told = table.as_dict()
    json.dumps(told)
    assert told["more"]["pass@3"]["rag"]["cells"]["bamboogle"]["value"] == 1
    assert told["more"]["cover_em"]["rag"]["macro"]["value"] == 1
    text = markdown(table)
    assert "\n\nBehaviour, over all predictions (seconds: of a question, with others beside it).\n\n|" in text
    assert [text.count(f"{name} in percent") for name in ("EM", "F1", "cover-EM", "pass@3")] == [2, 1, 1, 1]
    out = io.StringIO()
    for part in rich_tables(table, 100):
        Console(file=out, width=100).print(part)
    assert "F1, cover-EM and pass@3 in percent" in out.getvalue()
    assert all(cell in out.getvalue() for line in other_scores(table).lines for cell in line)
    assert [other.metric for other in build_table([made(tmp_path / "one", [1, 0])]).more] == ["f1", "cover_em"]


def test_failed_predictions_are_told_in_their_cell(tmp_path: Path) -> None:
    file = made(tmp_path, [1, 1, 1], asked=questions(4))
    append_prediction(file.path, predict(questions(4)[3], None, error="http"))
    table = build_table([read_predictions(file.path)])
    assert table.rows[0].failed == {"nq": 1}
    assert "75.0 [19.4, 99.4], 1 failed" in markdown(table)
    assert "rag: 1 of 4 predictions failed, and count as wrong" in markdown(table)


def test_behaviour_counts_every_prediction() -> None:
    q = questions(1)[0]
    rows = [
        predict(q, "gold 0", "one", "two", held=True, turns=3, usage=Usage(90, 40), valid_actions=1.0, seconds=2.0),
        predict(q, "gold 0", turns=1, usage=Usage(90, 20), valid_actions=0.5),  # by heart
        predict(q, None, "one", turns=2, error="deadline"),
        predict(q, None, turns=2),  # no answer, and no failure
    ]
    found = describe_behaviour(rows)
    assert (found.predictions, found.searches, found.turns, found.tokens) == (4, 0.75, 2.0, 15.0)
    assert (found.valid_actions, found.answered, found.evidence) == (0.75, 0.5, 0.25)
    assert (found.without_evidence, found.failed, found.seconds) == (0.25, 0.25, 0.5)
    assert found.cost_usd == pytest.approx(0.03 / 4)
    assert describe_behaviour([predict(q, "gold 0")]).valid_actions is None


@pytest.mark.parametrize("width", [60, 80, 99, 100, 104, 200])
def test_a_narrow_screen_cuts_no_number_off(tmp_path: Path, width: int) -> None:
    names = ["nq", "triviaqa", "popqa", "hotpotqa"]
    files = [made(tmp_path / m, [1, 0, 0, 1], benchmark=name, method=m) for name in names for m in ("rag", "search-o1")]
    table = build_table(files)
    out = io.StringIO()
    for part in rich_tables(table, width):
        Console(file=out, width=width).print(part)
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert all(line.rstrip()[-1] in "┓┃┩│┘" for line in text.splitlines() if line[0] in "┏┃┡│└")
    for shown in (scores(table), behaviour(table)):
        for line in shown.lines:
            assert all(cell in text for cell in line)
    assert text.count("search-o1") == len(rich_tables(table, width))  # each piece says whose numbers it holds


@pytest.mark.parametrize("width", [16, 24, 38])
def test_a_screen_that_is_too_narrow_breaks_cells_and_cuts_nothing_off(width: int) -> None:
    line = ("hotpotqa", "search-o1", "12.3 [10.1, 14.5]")
    (part,) = TextTable(("benchmark", "method", "EM in percent"), [line], names=2).rich(width)
    out = io.StringIO()
    Console(file=out, width=width).print(part)
    rows = [row.split("│")[1:-1] for row in out.getvalue().splitlines() if row[0] == "│"]
    assert ["".join(cells).replace(" ", "") for cells in zip(*rows, strict=True)] == [c.replace(" ", "") for c in line]


def test_a_title_is_broken_only_where_the_screen_is_too_narrow() -> None:
    said = "EM in percent, [95 % interval]; engine: none"
    for width, lines in ((60, 1), (30, 3)):
        (part,) = TextTable(("method", "nq"), [("rag", "1.0")]).rich(width, said)
        out = io.StringIO()
        Console(file=out, width=width).print(part)
        head = [line.strip() for line in out.getvalue().partition("┏")[0].splitlines()]
        assert (len(head), " ".join(head)) == (lines, said)
