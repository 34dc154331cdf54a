"""Two runs side by side: the same questions, differences with the right sign, and examples of what is claimed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation.made import made, predict, questions

from zerosearch.episodes.predictions import PredictionFile, append_prediction, read_predictions
from zerosearch.episodes.statistics import average, paired_p_value
from zerosearch.errors import DataError
from zerosearch.evaluation.comparison import Wins, compare_runs
from zerosearch.evaluation.comparison_text import markdown, p_value, verdict
from zerosearch.evaluation.results import one_run

A_RIGHT = [1, 1, 1, 1, 0, 0, 0, 1, 1, 1]
B_RIGHT = [1, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def run(*files: PredictionFile) -> dict[str, PredictionFile]:
    return {file.header.benchmark: file for file in files}


def test_who_wins_where(tmp_path: Path) -> None:
    a, b = made(tmp_path, A_RIGHT, searches=2), made(tmp_path, B_RIGHT, method="direct", engine="none", searches=0)
    found = compare_runs(run(a), run(b), ("x", "y"), examples=4)
    (part,) = found.parts
    assert (found.a, found.b, found.macro, found.micro, found.notes) == ("rag", "direct", None, None, ())
    assert part.wins == found.wins == Wins(a_only=6, b_only=1, both=1, neither=2)
    em = part.measures["em"]
    differences = np.array(A_RIGHT, float) - np.array(B_RIGHT, float)
    assert (em.a, em.b) == (pytest.approx(0.7), pytest.approx(0.2))
    assert em.difference == average([differences], differences=True)
    assert em.difference.value == pytest.approx(0.5)  # A - B
    assert em.p_value == paired_p_value([differences]) == pytest.approx(16 / 128)
    assert part.measures["searches"].difference.value == 2
    assert part.measures["f1"].a > 0.7
    assert {e.id for e in found.b_wins} == {"q004"}
    assert len(found.a_wins) == 4
    assert {e.id for e in found.a_wins} < {"q001", "q002", "q003", "q007", "q008", "q009"}
    example = found.b_wins[0]
    assert (example.question, example.golden_answers) == ("What is q 4?", ("gold 4", "au 4"))
    assert example.a.answer == "the wrong gold 4"
    assert example.a.queries == ("rag asks 0 of q004", "rag asks 1 of q004")
    assert (example.b.answer, example.b.queries) == ("gold 4", ())
    json.dumps(found.as_dict())


def test_rows_are_paired_by_id_and_not_by_place(tmp_path: Path) -> None:
    a, b = made(tmp_path, A_RIGHT), made(tmp_path, A_RIGHT, method="react")
    lines = b.path.read_text().splitlines(keepends=True)
    b.path.write_text("".join([lines[0], *lines[:0:-1]]))  # as predictions come in when many are made at once
    found = compare_runs(run(a), one_run(str(b.path)), ("a", "b"))
    assert found.parts[0].wins == Wins(0, 0, 7, 3)
    assert found.parts[0].measures["em"].p_value == 1.0


def test_the_order_of_rows_changes_no_number(tmp_path: Path) -> None:
    a, b = made(tmp_path, A_RIGHT * 4), made(tmp_path, B_RIGHT * 4, method="react")  # many: signs are drawn
    before = compare_runs(run(a), run(b), ("a", "b"))
    for path in (a.path, b.path):
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([lines[0], *lines[:0:-1]]))
    assert compare_runs(one_run(str(a.path)), one_run(str(b.path)), ("a", "b")) == before


def test_averages_over_benchmarks_have_their_own_tests(tmp_path: Path) -> None:
    small = questions(8, "b")
    one, other = A_RIGHT * 2 + B_RIGHT * 2, B_RIGHT * 2 + A_RIGHT * 2  # as good as each other
    a = run(made(tmp_path, one), made(tmp_path, [0] * 8, benchmark="bamboogle", asked=small))
    b = run(
        made(tmp_path, other, method="react"),
        made(tmp_path, [1] * 8, benchmark="bamboogle", asked=small, method="react"),
    )
    found = compare_runs(a, b, ("a", "b"))
    assert [part.benchmark for part in found.parts] == ["nq", "bamboogle"]
    assert found.macro is not None
    assert found.micro is not None
    assert found.macro["em"].difference.value == pytest.approx((0 - 1) / 2)
    assert found.micro["em"].difference.value == pytest.approx((0 - 8) / 48)
    assert (found.macro["em"].a, found.micro["em"].a) == (pytest.approx(0.225), pytest.approx(18 / 48))
    assert found.macro["em"].p_value < 0.05 < found.micro["em"].p_value
    assert found.questions == 48
    assert verdict(found).startswith("react is better than rag: macro average")
    assert re.search(r", p (= \.\d{3}|< \.001)\.$", verdict(found))


def test_where_interval_and_test_disagree_neither_is_called_better(tmp_path: Path) -> None:
    found = compare_runs(run(made(tmp_path, A_RIGHT)), run(made(tmp_path, B_RIGHT, method="react")), ("a", "b"))
    em = found.parts[0].measures["em"]
    assert (em.difference.low > 0, em.p_value > 0.05) == (True, True)
    said = verdict(found)
    assert said.startswith("Too close to call: EM, A - B: +50.0 points, 95 % interval [+")
    assert said.endswith("p = .125. By the interval they differ, by the test it may be chance; ask more questions.")
    other = replace(em, difference=replace(em.difference, low=-0.01), p_value=0.04)
    wide = replace(found, parts=(replace(found.parts[0], measures={"em": other}),))
    assert "By the test they differ, by the interval it may be chance" in verdict(wide)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([0] * 9, [0] * 9, "No difference: rag and react have the same EM on every question (9)."),
        (A_RIGHT, A_RIGHT, "No difference: rag and react have the same EM on every question (10)."),
        ([1] * 9, [0] * 9, "rag is better than react: EM, A - B: +100.0 points, no spread over questions, p = .004."),
        ([1] * 3, [0] * 3, "No significant difference: EM, A - B: +100.0 points, no spread over questions, p = .250."),
    ],
)
def test_where_all_questions_differ_alike_no_interval_is_told(
    tmp_path: Path, a: list[int], b: list[int], said: str
) -> None:
    """[+0.0, +0.0] would read as certainty."""
    found = compare_runs(run(made(tmp_path, a)), run(made(tmp_path, b, method="react")), ("a", "b"))
    assert verdict(found) == said
    assert re.search(r"\| EM \| .* \| no spread \|", markdown(found))
    assert "[" not in markdown(found)


@pytest.mark.parametrize(
    ("changes", "words", "kept"),
    [
        ({"engine": "serper"}, "engine bm25:x and serper", 10),
        ({"top_k": 3}, "top_k 5 and 3", 10),
        ({"asked": [*questions(8), *questions(2, "z")]}, "other questions (10 with digest", 8),
        ({"right": [*B_RIGHT[:9], None]}, "lacks 1 of its predictions", 9),
        ({"samples": 2, "right": B_RIGHT * 2}, "samples 1 and 2", 10),
    ],
)
def test_unlike_runs_are_refused_unless_asked_for(tmp_path: Path, changes: dict, words: str, kept: int) -> None:
    right = changes.pop("right", B_RIGHT)
    a, b = run(made(tmp_path, A_RIGHT)), run(made(tmp_path, right, method="react", **changes))
    with pytest.raises(DataError, match="--unlike") as caught:
        compare_runs(a, b, ("a", "b"))
    assert words in str(caught.value)
    found = compare_runs(a, b, ("a", "b"), allow_unlike=True)
    assert found.questions == kept
    assert words in "".join(found.notes)
    assert ("left out: " in "".join(found.notes)) == (kept < 10)
    assert words in markdown(found)


def test_failed_predictions_are_no_wrong_answers(tmp_path: Path) -> None:
    """Two perfect runs, of which one had an outage: no better and no worse."""
    a, b = made(tmp_path, [1] * 100), made(tmp_path, [1] * 85, method="react", asked=questions(100))
    lost = [predict(q, None, method="react", error="http") for q in questions(100)[85:]]
    append_prediction(b.path, *lost)
    b = read_predictions(b.path)
    with pytest.raises(DataError, match=r"15 of 100 predictions failed \(http 15\).*asks them again.*--unlike"):
        compare_runs(run(a), run(b), ("a", "b"))
    found = compare_runs(run(a), run(b), ("a", "b"), allow_unlike=True)
    assert found.questions == 85
    assert found.parts[0].measures["em"].difference.value == 0
    assert "15 of 100 predictions failed" in markdown(found)
    assert "15 questions" in markdown(found)


def test_a_question_whose_answers_changed_is_not_the_same_question(tmp_path: Path) -> None:
    changed = questions(10)
    changed[3] = type(changed[3])(changed[3].id, changed[3].text, ("another",))
    a, b = run(made(tmp_path, A_RIGHT)), run(made(tmp_path, B_RIGHT, method="react", asked=changed))
    found = compare_runs(a, b, ("a", "b"), allow_unlike=True)
    assert found.questions == 9
    assert "q003" not in {e.id for e in (*found.a_wins, *found.b_wins)}


def test_runs_without_a_common_question_have_nothing_to_compare(tmp_path: Path) -> None:
    a, b = run(made(tmp_path, A_RIGHT)), run(made(tmp_path, B_RIGHT, asked=questions(10, "z"), method="react"))
    with pytest.raises(DataError, match="no question in common"):
        compare_runs(a, b, ("a", "b"), allow_unlike=True)
    other = run(made(tmp_path, B_RIGHT, benchmark="popqa"))
    with pytest.raises(DataError, match="b has no nq"):
        compare_runs(a, other, ("a", "b"))


def test_of_several_tries_whoever_is_right_more_often_wins(tmp_path: Path) -> None:
    a = run(made(tmp_path, [1, 1, 1, 0, 0, 0, 0, 0], samples=2))
    b = run(made(tmp_path, [0, 1, 0, 1, 0, 0, 0, 1], samples=2, method="react"))
    found = compare_runs(a, b, ("a", "b"))
    assert found.wins == Wins(a_only=1, b_only=1, both=1, neither=1)
    (a_won,), (b_won,) = found.a_wins, found.b_wins  # with a try that is right, and one that is wrong
    assert (a_won.a.answer, a_won.b.answer) == ("gold 0", "the wrong gold 0")
    assert (b_won.a.answer, b_won.b.answer) == ("the wrong gold 3", "gold 3")


def test_labels_tell_the_runs_apart(tmp_path: Path) -> None:
    a = run(made(tmp_path / "a", A_RIGHT))
    model, same = run(made(tmp_path / "b", B_RIGHT, model="large")), run(made(tmp_path / "c", B_RIGHT))
    assert (compare_runs(a, model, ("x", "y")).a, compare_runs(a, model, ("x", "y")).b) == ("rag, tiny", "rag, large")
    assert (compare_runs(a, same, ("x", "y")).a, compare_runs(a, same, ("x", "y")).b) == ("x", "y")


@pytest.mark.parametrize(
    ("p", "text"), [(1.0, "1"), (0.0499, ".050"), (0.0123, ".012"), (0.001, ".001"), (0.0004, "< .001")]
)
def test_p_values_are_written_as_papers_do(p: float, text: str) -> None:
    assert p_value(p) == text
