"""`zerosearch cost`: the paper's table, a real run's, and one line where there is nothing to count."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from learning.test_books import PaidEngine
from learning.test_trainer import configure, trainer
from learning.toy import changed

from zerosearch.commands import cost as command
from zerosearch.errors import BudgetError
from zerosearch.files.jsonl import write_json
from zerosearch.spending.books import Books, read_books
from zerosearch.spending.ledger import PRICES, Ledger, dollars
from zerosearch.spending.report import Machine, of_run

GPU = Machine("NVIDIA A100", None, "simulated:tiny")
USED = Ledger(1000, 10, 200, 400_000, 200_000, 900.0, 1800.0, 0.0)
BOOKS = Books((USED,), (), USED, 3600.0)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command.console, "width", 200)  # no cell is broken


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the toy, whose simulator decoded for half an hour of seven; it was stopped once by its budget."""
    config = configure(tmp_path_factory.mktemp("runs"), steps=3)
    engine, clock = PaidEngine(), [0.0]

    def decoded() -> float:
        clock[0] += 180.0
        return clock[0]

    with pytest.raises(BudgetError):
        trainer(changed(config, engine__budget_searches=12), engine).run()
    made = trainer(config, engine)
    made.inputs = replace(made.inputs, simulator_seconds=decoded)
    assert made.run()
    write_json(config.run_folder / "manifest.json", {"device": "NVIDIA H100 80GB HBM3", "engine": "simulated:toy"})
    return config.run_folder


def cells(out: str) -> dict[str, list[str]]:
    """The rows of the table by their first cell."""
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in out.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in rows}


def test_without_a_run_it_is_the_papers_table(zerosearch: Any) -> None:
    result = zerosearch("cost")
    assert (result.code, result.err) == (0, "")
    found = {name: (row[0], row[2]) for name, row in cells(result.out).items()}
    assert found == {
        "Google by SerpAPI": ("64,000", "$586.70"),
        "Google by Serper": ("64,000", "$64.00"),
        "simulator 3B (paper)": ("64,000", "$17.70"),
        "simulator 7B (paper)": ("64,000", "$35.40"),
        "simulator 14B (paper)": ("64,000", "$70.80"),
    }
    assert "arXiv 2505.04588" in result.out
    assert "Sources and dates: docs/cost.md" in result.out  # no file that only a checkout has
    assert cells(result.out)["simulator 14B (paper)"][1] == "4 x 12 h x $1.475"


def test_another_number_of_searches_and_another_price_change_the_table(zerosearch: Any) -> None:
    found = cells(zerosearch("cost", "--searches", "6400", "--gpu-usd-per-hour", "2.95").out)
    assert [row[2] for row in found.values()] == ["$58.67", "$6.40", "$3.54", "$7.08", "$14.16"]
    assert found["simulator 3B (paper)"][1] == "1 x 1.2 h x $2.95"


def test_a_runs_searches_are_compared_with_its_simulators_time(zerosearch: Any, run: Path) -> None:
    result = zerosearch("cost", "--run", str(run), "--gpu-usd-per-hour", "2")
    assert (result.code, result.err) == (0, "")
    used = Ledger.total(read_books(run).steps)
    asked, hours = used.queries, used.simulator_seconds / 3600
    assert hours > 0.1
    found = cells(result.out)
    assert {row[0] for row in found.values()} == {f"{asked:,}"}
    assert found["Google by SerpAPI"][2] == dollars(asked * 275 / 30000)
    assert found["Google by Serper"][2] == dollars(asked / 1000)
    assert found["this run's simulator"][2] == dollars(2 * hours)
    assert "NVIDIA H100 80GB HBM3" in found["this run's simulator"][1]
    assert found["charged to this run"][2] == dollars(used.usd)
    assert f"{run}: 3 steps of training, simulated:toy" in result.out
    assert "Not compared: 16 searches of 2 evaluations, $1.60." in result.out
    assert "further searches belong to repeated, abandoned or unfinished steps" in result.out


def test_json_is_not_rounded_and_holds_the_ledgers(zerosearch: Any, run: Path) -> None:
    found = json.loads(zerosearch("cost", "--run", str(run), "--json").out)
    saved = json.loads((run / "cost.json").read_text())
    assert found["standing"] == pytest.approx(saved["standing"])
    assert found["spent"] == pytest.approx(saved["spent"])
    assert found["spent"]["queries"] > found["standing"]["queries"]
    serpapi = found["lines"][0]
    asked = Ledger.total(read_books(run).steps).queries
    assert 0 < asked < found["standing"]["queries"]  # the evaluations are not compared
    assert serpapi["usd"] == asked * found["prices"]["serpapi_search"]
    paper = json.loads(zerosearch("cost", "--json").out)
    assert [line["usd"] for line in paper["lines"]] == pytest.approx([64_000 * 275 / 30_000, 64, 17.7, 35.4, 70.8])


def test_a_run_is_scaled_in_proportion_and_pages_from_a_cache_are_not_priced() -> None:
    own = {line.engine: line for line in of_run("r", BOOKS, GPU, None, PRICES).lines}
    assert own["Google by SerpAPI"].searches == 800
    assert own["this run's simulator"].hours == pytest.approx(0.5)
    assert own["its tokens, hosted"].usd == pytest.approx(0.4 * 0.15 + 0.2 * 0.6)
    tenfold = {line.engine: line for line in of_run("r", BOOKS, GPU, 8000, PRICES).lines}
    for name, line in own.items():
        assert tenfold[name].usd == pytest.approx(10 * line.usd), name
        assert tenfold[name].searches == 8000
    notes = of_run("r", BOOKS, GPU, None, PRICES).notes
    assert notes == ["Of 1,000 searches 10 failed, and 200 cost nothing (from a cache, or asked before in their step)."]


def test_on_a_cpu_it_says_so() -> None:
    found = of_run("r", BOOKS, Machine("cpu", 2, "simulated:tiny"), None, PRICES)
    assert "a CPU (2 threads)" in next(line.basis for line in found.lines if line.engine == "this run's simulator")
    assert any(note.startswith("The simulator ran on a CPU (2 threads): no GPU was used.") for note in found.notes)


def test_a_server_that_was_not_timed_is_not_said_to_be() -> None:
    served = replace(BOOKS, steps=(replace(USED, simulator_seconds=0.0),))
    found = of_run("r", served, GPU, None, PRICES)
    line = next(line for line in found.lines if line.engine == "this run's simulator")
    assert line.usd == pytest.approx(PRICES.gpu_hour)  # an hour of rollouts
    assert any("not known here" in note for note in found.notes)
    real = of_run("r", served, Machine("cpu", 2, "bm25:corpus"), None, PRICES)
    assert "this run's simulator" not in [line.engine for line in real.lines]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--run", "nowhere"), "nowhere: no such folder"),
        (("--run", "empty"), "empty: holds no metrics.jsonl"),
        (("--run", "bare"), "manifest.json: no such file"),
        (("--run", "damaged"), "metrics.jsonl:1: has no ledger"),
        (("--run", "idle", "--searches", "10"), "idle: has made no search that could be scaled to 10"),
        (("--gpu-usd-per-hour", "-1"), "--gpu-usd-per-hour -1.0: must be 0 or more"),
        (("--gpu-usd-per-hour", "nan"), "--gpu-usd-per-hour nan: must be 0 or more"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], text: str, zerosearch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, metrics, manifest in (
        ("empty", None, None), ("bare", "", None), ("idle", "", '{"device": "cpu", "engine": "toy"}'),
        ("damaged", '{"step": 0}\n', '{"device": "cpu", "engine": "toy"}'),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        if metrics is not None:
            (tmp_path / name / "metrics.jsonl").write_text(metrics)
        if manifest is not None:
            (tmp_path / name / "manifest.json").write_text(manifest)
    result = zerosearch("cost", *arguments)
    assert result.code == 2
    assert text in result.line


def test_an_idle_run_costs_nothing(zerosearch: Any, tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    (tmp_path / "manifest.json").write_text('{"device": "cpu", "engine": "toy"}')
    result = zerosearch("cost", "--run", str(tmp_path))
    assert (result.code, result.err) == (0, "")
    assert {row[2] for row in cells(result.out).values()} == {"$0.00"}
