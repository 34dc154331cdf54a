"""`zerosearch report`: which file it writes, what it refuses, and what it says of what it could not read."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from evaluation.made import made
from reports.looked import write_run

from zerosearch.cleaning import register_secret
from zerosearch.episodes.episode import Codec
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, SearchPage
from zerosearch.files.jsonl import write_json
from zerosearch.reports.report import chosen_steps
from zerosearch.simulator.fidelity import Compared, FidelityQuery, fidelity


def data(path: Path, name: str) -> Any:
    """What the page was given."""
    (text,) = re.findall(rf'id="{name}-data">([^<]*)<', path.read_text())
    return json.loads(gzip.decompress(base64.b64decode(text)))


@pytest.fixture
def run(tmp_path: Path, byte_codec: Codec) -> Path:
    return write_run(tmp_path / "r", byte_codec, 2)


def test_one_run_gets_its_report_and_a_second_call_replaces_it(zerosearch: Any, run: Path) -> None:
    for _ in range(2):
        made = zerosearch("report", str(run))
        assert made.code == 0, made.err
        assert made.out.splitlines()[-1].startswith(f"{run}/report.html  (")
    page = (run / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!#|data:,)""", page)
    assert "<script src" not in page


def test_several_runs_and_evaluations_share_one_page(
    zerosearch: Any, run: Path, byte_codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = write_run(tmp_path / "s", byte_codec, 1, seed=1)
    made(tmp_path / "out", [1, 0, 1] * 4)
    made(tmp_path / "out", [1, 1, 1] * 4, method="react")
    assert zerosearch("report", str(run), str(other), "out").code == 0
    summary = data(tmp_path / "report.html", "summary")
    assert [page["name"] for page in summary["runs"]] == ["r", "s"]
    titles = [table["title"] for table in summary["tables"]]
    assert any(title.startswith("out: EM in percent") for title in titles)
    assert any({"react", "rag"} == set(title.split(" against ")) for title in titles)
    episodes = data(tmp_path / "report.html", "episodes")
    assert episodes["names"] == ["r", "s", "out"]
    assert len(episodes["rows"]) == 48 + 24 + 24


def test_a_simulators_fidelity_stands_in_the_report(zerosearch: Any, run: Path, tmp_path: Path) -> None:
    right, wrong = (SearchPage((Document("Nepal", text),), "x") for text in ("Kathmandu.", "Hills."))
    asked = FidelityQuery("capital of Nepal", Question("n", "Capital of Nepal?", ("Kathmandu",)))
    report = fidelity([Compared(asked, right, right, wrong)] * 20, top_k=1) | {
        "simulator": "simulated:x",
        "engine": "y",
    }
    write_json(run / "fidelity.json", report)
    write_json(tmp_path / "apart" / "fidelity.json", report)
    out = tmp_path / "both.html"
    assert zerosearch("report", str(run), str(tmp_path / "apart"), "--out", str(out)).code == 0
    tables = data(out, "summary")["fidelity"]
    assert [table["title"] for table in tables] == ["Fidelity: simulated:x against y"] * 2
    assert tables[0]["lines"][:2] == [["queries", "20"], [tables[0]["lines"][1][0], "100% [83%, 100%]"]]
    assert data(out, "summary")["problems"] == []
    (run / "fidelity.json").write_text("{}")
    assert zerosearch("report", str(run)).code == 0
    assert (
        "not a report of this release's zerosearch fidelity (lacks 'simulator')"
        in data(run / "report.html", "summary")["problems"][0]
    )


def test_no_secret_reaches_the_page(zerosearch: Any, run: Path) -> None:
    secret = "sekret-of-this-test-77"
    register_secret(secret)
    text = (run / "metrics.jsonl").read_text().replace('"alarms": []', f'"alarms": ["asked with {secret}"]')
    (run / "metrics.jsonl").write_text(text)
    assert zerosearch("report", str(run)).code == 0
    assert "asked with [key]" in json.dumps(data(run / "report.html", "summary"))
    assert secret not in json.dumps(data(run / "report.html", "summary"))


def test_what_is_damaged_is_told_and_the_rest_is_shown(zerosearch: Any, run: Path) -> None:
    (run / "trajectories" / "step-000001.jsonl.zst").write_bytes(b"no zstd")
    (run / "manifest.json").unlink()
    made = zerosearch("report", str(run))
    assert made.code == 0
    said = made.out.replace("\n", " ")
    assert "step-000001.jsonl.zst: cannot be read" in said
    assert "manifest.json" in said
    summary, episodes = data(run / "report.html", "summary"), data(run / "report.html", "episodes")
    assert "step-000001.jsonl.zst: cannot be read" in episodes["problems"][0]
    assert len(episodes["rows"]) == 24
    assert "manifest.json" in summary["problems"][0]
    assert summary["runs"][0]["series"]["reward"]


def test_of_several_the_damaged_ones_are_told_and_the_others_shown(
    zerosearch: Any, run: Path, byte_codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    broken = write_run(Path("s"), byte_codec, 2, seed=1)
    lines = (broken / "metrics.jsonl").read_text().splitlines()
    (broken / "metrics.jsonl").write_text(f"{lines[0]}\n{{broken\n{lines[1]}\n")
    made(Path("out"), [1, 0, 1])
    (row,) = Path("out").rglob("*.jsonl")
    row.write_text(row.read_text() + "broken\n")
    told = zerosearch("report", "r", "s", "out")
    assert told.code == 0, told.err
    summary, episodes = data(Path("report.html"), "summary"), data(Path("report.html"), "episodes")
    assert [page["name"] for page in summary["runs"]] == episodes["names"] == ["r"]
    assert len(episodes["rows"]) == 48
    assert [problem.split(": ")[0] for problem in summary["problems"]] == ["s/metrics.jsonl:2", f"{row}:5"]
    assert all(problem in told.out.replace("\n", " ") for problem in summary["problems"])
    refused = zerosearch("report", "s", "out", "--out", "none.html")
    assert refused.code == 2
    assert "s/metrics.jsonl:2" in refused.line
    assert not Path("none.html").exists()


def test_another_file_is_not_overwritten(zerosearch: Any, run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    refused = zerosearch("report", str(run), "--out", str(tmp_path / "mine.html"))
    assert refused.code == 2
    assert "was not made by this command" in refused.line.replace("\n", " ")
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"


def test_what_is_no_run_is_one_line(zerosearch: Any, run: Path, tmp_path: Path) -> None:
    assert "no such file" in zerosearch("report", str(tmp_path / "nothing")).line
    twice = zerosearch("report", str(run), f"{run}/")
    assert (twice.code, f"{run}/: is named twice" in twice.line) == (2, True)
    assert "leave --out away" in zerosearch("report", str(run), "--live", "--out", "x.html").line
    assert "--port goes with --live" in zerosearch("report", str(run), "--port", "8000").line


def test_of_too_many_episodes_whole_steps_are_kept(zerosearch: Any, run: Path) -> None:
    assert zerosearch("report", str(run), "--episodes", "24").code == 0
    episodes = data(run / "report.html", "episodes")
    assert {row["step"] for row in episodes["rows"]} == {2}
    assert "training: 1 of 2 steps (2)" in episodes["told"][0]
    steps, sizes = list(range(100)), dict.fromkeys(range(100), 10)
    assert chosen_steps(steps, sizes, 50) == [0, 32, 64, 96, 99]
    assert chosen_steps([*steps, 100], {0: 10}, 50) == [0, 32, 64, 96, 100]
    assert chosen_steps(steps, sizes, 20) == [0, 99]
    assert chosen_steps([7], sizes, 20) == [7]
    assert chosen_steps(steps, sizes, 5000) == steps
    assert chosen_steps(steps, sizes, 0) == [99]
