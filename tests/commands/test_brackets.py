"""Names with brackets: what a path, a run or a question says in them is printed, and never taken as a style."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_run import SIMULATED, write_config
from tiny import save_chain

from zerosearch.commands.screen import Console, table

ASKED = "Which [bold] is [/y] of {n}?"
COUNT = 6


@pytest.fixture(scope="module")
def place(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, a corpus and questions; the path itself ends a style that never began."""
    folder = tmp_path_factory.mktemp("brackets") / "w[" / "d]"
    save_chain(tiny_tokenizer, "\n<search>nepal</search>", folder / "model")
    rows = [
        {"id": "n", "title": "Nepal [red]", "text": "Its capital is Kathmandu [x]."},
        {"title": "Peru", "text": "Lima"},
    ]
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"id": f"{n}", **row}) + "\n" for n, row in enumerate(rows))
    )
    asked = [
        {"id": f"q[{n}]", "question": ASKED.format(n=n), "golden_answers": ["Kathmandu [x]" if n % 2 else "[/z]"]}
        for n in range(COUNT)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    write_config(folder / "config.toml", {"name": "r[a]"})
    write_config(folder / "simulated.toml", SIMULATED, {"name": "r[a]"})
    return folder


def test_brackets_of_names_are_printed(zerosearch: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    run, first = f"{place}/runs/r[a]", ASKED.format(n=0)
    episode = ("--question", first, "--answer", "[x]", "--text", "<answer>[x]</answer>")
    measured = ("--benchmarks", "questions.jsonl", "--methods", "direct,rag")
    walked: dict[tuple[str, ...], list[str]] = {
        ("check", "config.toml"): ["r[a]: reinforce teaches", f"{place}/model"],
        ("check", "config.toml", *episode): [first, "answer   '[x]'"],
        ("data", "questions.jsonl"): [f"  {first}", "    [/z]"],
        ("train", "config.toml"): [f"r[a]: reinforce teaches {place}/model", f"run folder   {run}/", f"--run '{run}'"],
        ("show", run): ["asks      Which [bold] is [/y] of", "[1] Nepal [red]"],
        ("ask", first, "--run", run): ["[1] Nepal [red]: Its capital is Kathmandu [x]."],
        ("cost", "--run", run): [],
        ("report", run, "--out", "r[r].html"): ["r[r].html"],
        ("export", run): ["model card exports/r[a]-merged/README.md"],
        ("evaluate", "config.toml", *measured, "--out", "out[o]"): ["table out[o]/table.md"],
        ("compare", "out[o]:direct", "out[o]:rag"): [],
        ("collect", "config.toml", "--out", "c[c]"): ["label config.toml 'c[c]'"],
        ("record", "config.toml", "--queries", "questions.jsonl", "--out", "p[p].jsonl"): ["into p[p].jsonl"],
        ("label", "config.toml", "c[c]", "--out", "l[l].jsonl"): ["in l[l].jsonl", f"question: {first}  ([/z])"],
        ("fidelity", "simulated.toml", "--limit", "4", "--out", "f[f]"): ["f[f]/fidelity.json"],
    }
    for command, said in walked.items():
        done = zerosearch(*command)
        assert done.code == 0, (command, done.err)
        assert [part for part in said if part not in done.out] == [], (command, done.out)


def test_a_table_prints_them_too(capsys: pytest.CaptureFixture[str]) -> None:
    shown = table("of [b]", "[/c]", "[red]")
    shown.add_row("[bold]x[/bold]", "[/y]")
    Console().print(shown)
    out = capsys.readouterr().out
    assert [part for part in ("of [b]", "[/c]", "[red]", "[bold]x[/bold]", "[/y]") if part not in out] == []
