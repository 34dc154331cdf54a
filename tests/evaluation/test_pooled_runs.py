"""Several seeds as one side of a comparison: a question's score is their mean."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from evaluation.made import made, questions

from zerosearch.episodes.statistics import average, between_runs, paired_p_value
from zerosearch.errors import DataError
from zerosearch.evaluation.comparison import Comparison, Wins, compare_runs
from zerosearch.evaluation.comparison_text import seeds as seeds_told
from zerosearch.evaluation.comparison_text import verdict
from zerosearch.evaluation.results import runs_of

SEEDS = ([1, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 0], [1, 1, 0, 0, 0, 0])
OTHER = [0, 1, 0, 0, 0, 1]


def seeds(folder: Path, names: str = "xyz") -> str:
    return ",".join(str(made(folder, right, method=name).path) for name, right in zip(names, SEEDS, strict=False))


def test_a_question_has_the_mean_of_its_runs(tmp_path: Path) -> None:
    target = seeds(tmp_path)
    other = made(tmp_path, OTHER, method="rag")
    found = compare_runs(runs_of(target), runs_of(str(other.path)), (target, "rag"))
    means = np.mean(np.array(SEEDS, float), axis=0)
    em = found.parts[0].measures["em"]
    assert em.a == pytest.approx(means.mean())
    assert em.difference == average([means - OTHER], differences=True)
    assert em.p_value == paired_p_value([means - OTHER])
    assert (found.a, found.b) == ("mean of x, y, z (3 runs)", "rag")
    assert found.a_runs == pytest.approx((3 / 6, 3 / 6, 2 / 6))
    assert found.b_runs == ()
    assert found.between_runs == between_runs([3 / 6, 3 / 6, 2 / 6], [2 / 6])
    assert found.notes == ()
    assert found.wins == Wins(a_only=3, b_only=2, both=0, neither=1)


def test_what_holds_for_these_runs_alone_is_called_so(tmp_path: Path) -> None:
    """Over the questions A is better without doubt, but one of its three runs is worse than B."""
    rights = {"x": [1] * 20, "y": [1] * 20, "z": [0] * 20, "v": [0] * 14 + [1] * 6, "w": [0] * 13 + [1] * 7}
    files = {name: made(tmp_path, right, method=name, asked=questions(20)) for name, right in rights.items()}

    def compared(*names: str) -> Comparison:
        sides = [",".join(str(files[name].path) for name in side) for side in names]
        return compare_runs(*map(runs_of, sides), ("a", "b"))

    unsure = compared("xyz", "vw")
    assert unsure.parts[0].measures["em"].p_value < 0.01
    assert re.fullmatch(r"In these runs mean of x, y, z .* is better than .* Other seeds may .*\.", verdict(unsure))
    assert list(seeds_told(unsure))[2] == "Over runs, A - B: +34.2 points of EM, 95 % interval [-108.1, +176.5]."
    sure = compared("xy", "vw")
    assert verdict(sure).startswith("mean of x, y (2 runs) is better")
    assert list(seeds_told(compared("xyz", "v")))[1].endswith("; the other side is one run, taken as it is.")


def test_runs_of_several_tries_keep_their_own_scores(tmp_path: Path) -> None:
    asked = questions(2)
    files = [
        made(tmp_path, right, method=name, asked=asked, samples=2)
        for name, right in {"x": [1, 1, 0, 0], "y": [0, 1, 0, 0]}.items()
    ]
    other = made(tmp_path, [0, 0, 0, 0], method="z", asked=asked, samples=2)
    found = compare_runs(runs_of(f"{files[0].path},{files[1].path}"), runs_of(str(other.path)), ("a", "b"))
    assert found.a_runs == pytest.approx((0.5, 0.25))
    assert found.parts[0].measures["em"].a == pytest.approx(3 / 8)


def test_what_are_not_seeds_of_one_run_is_refused(tmp_path: Path) -> None:
    one = made(tmp_path / "1", SEEDS[0])
    for place, changed, reason in (
        (2, {"engine": "bm25:y"}, "engine bm25:x and bm25:y"),
        (3, {"asked": questions(6, "r")}, "other questions"),
        (4, {"benchmark": "popqa"}, "do not have the same benchmarks"),
    ):
        other = made(tmp_path / str(place), SEEDS[1], **changed)
        with pytest.raises(DataError, match=reason):
            runs_of(f"{one.path},{other.path}")
    with pytest.raises(DataError, match="stands twice"):
        runs_of(f"{one.path},{one.path}")


def test_a_run_is_not_compared_with_a_mean_that_has_it(tmp_path: Path) -> None:
    target = seeds(tmp_path)
    for own in target.split(","):
        with pytest.raises(DataError, match="are the same predictions"):
            compare_runs(runs_of(target), runs_of(own), (target, own))


def test_a_question_that_one_run_lacks_is_left_out(tmp_path: Path) -> None:
    whole, cut = (
        made(tmp_path, SEEDS[0], method="x"),
        made(tmp_path, [1, None, 0, 1, 1, 0], method="y", asked=questions(6)),
    )
    other = made(tmp_path, OTHER, method="rag")
    runs = runs_of(f"{whole.path},{cut.path}"), runs_of(str(other.path))
    with pytest.raises(DataError, match="lacks 1 of its predictions"):
        compare_runs(*runs, ("a", "b"))
    assert compare_runs(*runs, ("a", "b"), allow_unlike=True).questions == 5
