"""`zerosearch refresh` over a run that `train` made: a tiny policy, a simulator of passages, a real index."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from engines.conftest import Endpoint, Reply
from small_run import SIMULATED, write_config
from tiny import save_chain

from zerosearch.files.jsonl import read_object, write_jsonl
from zerosearch.models.adapters import read_card
from zerosearch.simulator.collect import read_collection
from zerosearch.simulator.hits import HitPredictor
from zerosearch.simulator.label import read_labels
from zerosearch.simulator.record import read_recorded_pages

COUNT = 44
CHANGES = {
    "protocol.max_page_tokens": 40, "protocol.max_context_tokens": 500, "engine.simulated.model": "{folder}/writer",
    "engine.simulated.style": "passages", "engine.simulated.hits": "default", "evaluation.limit": 2,
    "training.learning_rate": 0.01, "tune.epochs": 0.1, "tune.rank": 2,
}  # fmt: skip
LABELS = ("engine.simulated.style=tuned", "engine.simulated.hits=none", "tune.by=evidence")


@pytest.fixture(scope="module")
def place(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that always searches for nepal, trained for a step with a simulator that writes one passage; pages that
    were recorded before."""
    folder = tmp_path_factory.mktemp("refresh")
    save_chain(tiny_tokenizer, "\n<search>nepal</search>", folder / "model")
    save_chain(tiny_tokenizer, "\nUlm: so<|im_end|>", folder / "writer")
    rows = {"Nepal": "Kathmandu is the capital of Nepal.", "Nepal: Hills": "Nepal has hills.", "Peru": "Lima."}
    write_jsonl(folder / "corpus.jsonl", [{"id": t, "title": t, "text": text} for t, text in rows.items()])
    asked = [
        {"id": f"q{n}", "question": f"Question {n}?", "golden_answers": ["Kathmandu" if n % 2 else "Lima"],
         "facts": [f"A town is {'Kathmandu' if n % 2 else 'Lima'}."]}
        for n in range(COUNT)
    ]  # fmt: skip
    write_jsonl(folder / "questions.jsonl", asked)
    old = [
        {"query": f"capital of country{n}", "question": f"What is the capital of Country{n}?", "id": str(n),
         "golden_answers": [f"City{n}"], "hops": 1 + n % 2,
         "results": [{"title": f"T{n}", "text": f"It is City{n}." if n % 4 else "Nothing."}]}
        for n in range(500)
    ]  # fmt: skip
    write_jsonl(folder / "old.jsonl", old)
    config = write_config(folder / "config.toml", SIMULATED, CHANGES)
    done = subprocess.run(
        [sys.executable, "-m", "zerosearch", "train", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def words_of(place: Path, out: Path, *more: str) -> tuple[str, ...]:
    return ("refresh", str(place / "runs" / "small"), "--pages", str(place / "old.jsonl"), "--out", str(out), *more)


def begun(shown: str) -> list[str]:
    """The commands that a refresh of four stages began."""
    return re.findall(r"^\d/4 (zerosearch .*)$", shown, re.MULTILINE)


def products(out: Path) -> dict[str, Any]:
    """What must not differ, however often a refresh was stopped."""
    hits = read_object(out / "hits.json")
    return {
        "episodes": sorted((t.question.id, t.ids) for t in read_collection(out / "episodes")),
        "pages": sorted((p.question.id, p.query, p.documents) for p in read_recorded_pages(out / "pages.jsonl")[0]),
        "hits": {key: value for key, value in hits.items() if key != "made"},
        "weights": (out / "simulator" / "adapter_model.safetensors").read_bytes(),
    }


def test_a_refresh_does_what_its_dry_run_prints_and_training_goes_on_with_the_result(
    zerosearch: Any, place: Path, tmp_path: Path
) -> None:
    out, run = tmp_path / "round", place / "runs" / "small"
    words = words_of(place, out, "--limit", "6")
    printed = zerosearch(*words, "--dry-run")
    assert printed.code == 0, printed.err
    assert not out.exists()
    assert [line.split()[1] for line in printed.out.splitlines()] == ["collect", "record", "tune", "tune", "train"]
    done = zerosearch(*words)
    assert done.code == 0, done.err
    *made, last = printed.out.splitlines()
    assert begun(done.out) == made
    assert re.findall(r"^next: .*$", done.out, re.MULTILINE) == [f"next: {last}"]
    assert f"{place / 'old.jsonl'}: 500 pages" in done.out

    policy = str(run / "checkpoints" / "step-000001" / "policy")
    assert read_object(out / "episodes" / "collect.json")["adapter"] == policy
    assert len(list(read_collection(out / "episodes"))) == 6
    pages = read_recorded_pages(out / "pages.jsonl")[0]
    assert {(page.query, len(page.documents)) for page in pages} == {("nepal", 2)}
    hits = HitPredictor.open(str(out / "hits.json"))
    assert hits.made["files"] == ["old.jsonl", "pages.jsonl"]
    assert sorted(held["nepal"] for held in hits.recorded.values() if "nepal" in held) == [False] * 3 + [True] * 3
    card = read_card(out / "simulator")
    assert card["style"] == "passages"
    assert card["data"].startswith("old.jsonl, pages.jsonl: 506 pages")

    trained = zerosearch(*shlex.split(last)[1:])
    assert trained.code == 0, trained.err
    config = (place / "runs" / "small-2" / "config.toml").read_text()
    assert str(out / "simulator") in config
    assert str(out / "hits.json") in config
    assert policy in config

    third = zerosearch("refresh", str(place / "runs" / "small-2"), "--pages", str(place / "old.jsonl"), "--limit", "4")
    assert third.code == 0, third.err
    assert read_card(place / "runs" / "small-2" / "refreshed" / "simulator")["start"] == card


def test_labels_are_made_where_the_tuned_style_learns_from_them(zerosearch: Any, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "round"
    sets = [word for change in LABELS for word in ("--set", change)]
    done = zerosearch("refresh", str(place / "runs" / "small"), "--out", str(out), *sets)
    assert done.code == 0, done.err
    assert "no --pages" in done.out
    assert [command.split()[1] for command in begun(done.out)] == ["collect", "record", "label", "tune"]
    assert len(list(read_labels(out / "labels.jsonl"))) == COUNT
    assert read_card(out / "simulator")["style"] == "tuned"
    assert not (out / "hits.json").exists()


def test_what_is_done_is_not_done_again_and_a_change_does_it_anew(zerosearch: Any, place: Path, tmp_path: Path) -> None:
    out, old = tmp_path / "round", tmp_path / "old.jsonl"
    old.write_bytes((place / "old.jsonl").read_bytes())
    words = ("refresh", str(place / "runs" / "small"), "--pages", str(old), "--out", str(out), "--limit", "4")
    assert zerosearch(*words).code == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again = zerosearch(*words)
    assert again.code == 0, again.err
    assert again.out.count(" is done: zerosearch ") == 4
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before

    (out / "hits.json").unlink()
    again = zerosearch(*words)
    assert again.out.count(" is done: zerosearch ") == 2
    assert (out / "hits.json").exists()

    rows = old.read_text().splitlines(keepends=True)
    old.write_text("".join(rows[:-20]))
    again = zerosearch(*words)
    assert again.code == 0, again.err
    assert " is done: " not in again.out
    assert "480 pages" in again.out
    assert read_card(out / "simulator")["data"].startswith("old.jsonl, pages.jsonl: 484 pages")
    assert len(list(read_collection(out / "episodes"))) == 4  # the commands themselves resume
    assert len(read_recorded_pages(out / "pages.jsonl")[0]) == 4


def test_a_query_is_searched_once(zerosearch: Any, place: Path, tmp_path: Path, endpoint: Endpoint) -> None:
    found = [{"document": {"id": str(n), "title": "Nepal", "text": f"Text {n}."}} for n in range(20)]
    endpoint.script = [Reply(body=json.dumps({"result": [found]}).encode())]
    sets = ("--set", "evaluation.engine.kind=remote", "--set", f"evaluation.engine.remote.url={endpoint.url}")
    out = tmp_path / "round"
    done = zerosearch(*words_of(place, out, "--limit", "6", *sets))
    assert done.code == 0, done.err
    assert [(request["queries"], request["topk"]) for request in endpoint.requests] == [(["nepal"], 20)]
    assert {len(search.documents) for t in read_collection(out / "episodes") for search in t.searches} == {2}
    assert {len(page.documents) for page in read_recorded_pages(out / "pages.jsonl")[0]} == {20}


def test_more_questions_go_on_from_those_that_were_played(zerosearch: Any, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "round"
    assert zerosearch(*words_of(place, out, "--limit", "4")).code == 0
    (first,) = (out / "episodes").glob("part-*")
    before = first.read_bytes()
    more = zerosearch(*words_of(place, out, "--limit", "7"))
    assert more.code == 0, more.err
    assert first.read_bytes() == before
    assert len(list(read_collection(out / "episodes"))) == len(read_recorded_pages(out / "pages.jsonl")[0]) == 7
    assert read_object(out / "episodes" / "collect.json")["questions"]["count"] == 7
    fewer = zerosearch(*words_of(place, out, "--limit", "4"))
    assert fewer.code == 2
    assert "was collected with 7 questions, now it is 4, and does not go on with fewer or other ones" in fewer.line


def test_a_killed_refresh_goes_on_where_it_was(zerosearch: Any, place: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert zerosearch(*words_of(place, whole, "--limit", "6")).code == 0
    words = words_of(place, cut, "--limit", "6")
    for stage in (2, 4):
        command = [sys.executable, "-u", "-m", "zerosearch", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(f"{stage}/4 zerosearch"):
                    process.send_signal(signal.SIGKILL)
                    break
        assert process.returncode == -signal.SIGKILL
        assert len(read_object(cut / "refresh.json")["done"]) == stage - 1
    done = zerosearch(*words)
    assert done.code == 0, done.err
    assert done.out.count(" is done: zerosearch ") == 3
    assert products(cut) == products(whole)


def test_a_stage_that_fails_ends_the_refresh_with_its_line_and_status(
    zerosearch: Any, place: Path, tmp_path: Path
) -> None:
    out = tmp_path / "round"
    words = words_of(place, out, "--limit", "8", "--set", "evaluation.engine.cache=none")  # its queries are all one
    spent = zerosearch(*words, "--set", "engine.budget_searches=3")
    assert spent.code == 3
    assert "the budget is spent" in spent.line
    assert len(begun(spent.out)) == 1
    assert read_object(out / "refresh.json")["done"] == []
    more = zerosearch(*words, "--set", "engine.budget_searches=20")
    assert more.code == 0, more.err
    assert len(list(read_collection(out / "episodes"))) == 8
    assert "engine.budget" not in more.out.splitlines()[-1]  # which is training's own

    few = zerosearch("refresh", str(place / "runs" / "small"), "--out", str(tmp_path / "few"), "--limit", "4")
    assert few.code == 2
    assert "2 of 4 pages hold the answer: a hit predictor needs 100" in few.line
    assert len(read_object(tmp_path / "few" / "refresh.json")["done"]) == 2


def test_a_policy_that_no_longer_searches_is_one_line(
    zerosearch: Any, place: Path, tmp_path: Path, tiny_tokenizer: Any
) -> None:
    silent = save_chain(tiny_tokenizer, "\n<answer>kathmandu</answer>", tmp_path / "silent")
    done = zerosearch(*words_of(place, tmp_path / "round", "--limit", "2", "--set", f"model.name={silent}"))
    assert done.code == 2
    assert "holds no query; does the policy search?" in done.line


def test_nothing_of_others_is_touched(zerosearch: Any, place: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert "holds notes.txt and no refresh.json" in zerosearch(*words_of(place, tmp_path)).err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "refresh.json").write_text(json.dumps({"mine": 1}))
    assert "was not written by zerosearch refresh" in zerosearch(*words_of(place, tmp_path / "other")).err
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["refresh.json"]


def test_older_pages_are_read_before_a_question_is_played(zerosearch: Any, place: Path, tmp_path: Path) -> None:
    run, out = str(place / "runs" / "small"), tmp_path / "round"
    (tmp_path / "traces.jsonl").write_text('{"query": "q", "results": []}\n')
    for pages, said in (
        (tmp_path / "none.jsonl", "no such file"),
        (tmp_path / "traces.jsonl", "no row has `question`"),
    ):
        done = zerosearch("refresh", run, "--pages", str(pages), "--out", str(out))
        assert done.code == 2
        assert said in done.line
    assert not out.exists()
