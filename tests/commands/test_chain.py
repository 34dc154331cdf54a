"""`collect`, `label`, `tune`, `fidelity`: the whole chain as a user types it, with a tiny model and a real index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from engines.conftest import Endpoint, Reply, completion
from small_run import SIMULATED, write_config
from tiny import save_chain

from zerosearch.files.jsonl import write_jsonl
from zerosearch.models.adapters import read_card
from zerosearch.simulator.collect import list_parts, read_collection
from zerosearch.simulator.label import read_labels
from zerosearch.simulator.pairs import MIN_CLASS

COUNT = 2 * MIN_CLASS + 4
CHANGES = {
    "protocol.max_page_tokens": 40, "protocol.max_context_tokens": 500, "engine.simulated.model": "{folder}/model",
    "engine.simulated.style": "tuned",
}  # fmt: skip


def used(out: str) -> list[str]:
    """The settings of `engine.simulated` in the command that comes next."""
    told = out[out.rindex("next: zerosearch fidelity") :].split("engine.simulated.")[1:]
    return [setting.removesuffix(" --set ").strip() for setting in told]


@pytest.fixture(scope="module")
def place(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that always searches for nepal, a corpus in which the page for it holds every other question's answer."""
    folder = tmp_path_factory.mktemp("chain")
    save_chain(tiny_tokenizer, "\n<search>nepal</search>", folder / "model")
    rows = {"Nepal": "Kathmandu is the capital of Nepal.", "Nepal: Hills": "Nepal has hills.", "Peru": "Lima."}
    write_jsonl(folder / "corpus.jsonl", [{"id": t, "title": t, "text": text} for t, text in rows.items()])
    asked = [
        {"id": f"q{n}", "question": f"Question {n}?", "golden_answers": ["Kathmandu" if n % 2 else "Lima"]}
        for n in range(COUNT)
    ]
    write_jsonl(folder / "questions.jsonl", asked)
    write_config(folder / "config.toml", SIMULATED, CHANGES)
    return folder


@pytest.mark.usefixtures("place")
def test_the_chain_runs_and_each_step_takes_what_the_one_before_wrote(zerosearch: Any, place: Path) -> None:
    config, collection, adapter = place / "config.toml", place / "pages", place / "simulator"
    done = zerosearch("collect", str(config), "--out", str(collection), "--temperature", "0")
    assert done.code == 0, done.err
    assert f"{COUNT}/{COUNT} episodes" in done.out
    assert f"next: zerosearch label {config} {collection}" in " ".join(done.out.split())
    assert len(list(read_collection(collection))) == COUNT

    done = zerosearch("label", str(config), str(collection))
    assert done.code == 0, done.err
    labels = list(read_labels(collection / "labels.jsonl"))
    assert len(labels) == COUNT
    assert {p.labels["containment"] for p in labels} == {"useful", "noisy"}
    assert "Cohen's kappa" in done.out

    where = str(collection / "labels.jsonl")
    options = ("--by", "evidence", "--set", "tune.epochs=0.5", "--set", "tune.rank=2")
    done = zerosearch("tune", str(config), where, "--out", str(adapter), *options)
    assert done.code == 0, done.err
    card = read_card(adapter)
    assert card["texts"] == 2 * (COUNT // 2)
    assert card["top_k"] == 2
    assert card["engine"] == [labels[0].engine]

    recording = place / "pages.jsonl"
    done = zerosearch("record", str(config), "--queries", str(collection), "--out", str(recording), "--depth", "3")
    assert done.code == 0, done.err
    assert f"{COUNT} of {COUNT} queries recorded" in done.out
    assert f"next: zerosearch label {config} --recorded {recording} --out labels.jsonl" in " ".join(done.out.split())
    deep, twins, one = place / "deep.jsonl", place / "twins", ("--set", "engine.top_k=1")
    done = zerosearch("label", str(config), "--recorded", str(recording), "--out", str(deep), *one)
    assert done.code == 0, done.err
    assert "--by rank" in done.out
    assert {len(page.documents) for page in read_labels(deep)} == {2}
    settings = ("--by", "rank", "--set", "tune.epochs=0.2", "--set", "tune.full=true", *one)
    done = zerosearch("tune", str(config), str(deep), where, "--out", str(twins), *settings)
    assert done.code == 0, done.err
    assert (twins / "model.safetensors").exists()
    assert read_card(twins)["data"].startswith("deep.jsonl, labels.jsonl")
    assert used(done.out) == [f"model={twins}", "adapter=none", "style=tuned"]

    report = place / "report"
    done = zerosearch(
        "fidelity", str(config), "--limit", "6", "--set", "fidelity.blind=2", "--out", str(report), "--json",
        "--set", f"engine.simulated.adapter={adapter}",
    )  # fmt: skip
    assert done.code == 0, done.err
    printed, written = json.loads(done.out), json.loads((report / "fidelity.json").read_text())
    assert printed == written
    assert written["queries"] == 6
    assert written["engine"] == labels[0].engine
    assert (written["plan_temperature"], written["rewrites"]) == (None, 0)
    assert "<h2>Question 0?</h2>" in (report / "fidelity.html").read_text()
    rows = [json.loads(line) for line in (report / "pages.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    assert [row["golden_answers"] for row in rows[:2]] == [["Lima"], ["Kathmandu"]]
    assert all(document.keys() == {"title", "text"} for row in rows for document in row["useful"]["results"])
    for row in rows:
        text = json.dumps(row["real"]["results"])
        assert row["real"]["holds_answer"] == (row["golden_answers"][0] in text)
    assert [row["blind"] is None for row in rows] == [False, False, True, True, True, True]
    assert written["kinds"]["whole"]["useful"] == sum(row["useful"]["holds_answer"] for row in rows) / 6


def test_a_collection_of_another_configuration_is_refused(zerosearch: Any, place: Path, tmp_path: Path) -> None:
    first = ("collect", str(place / "config.toml"), "--out", str(tmp_path / "c"), "--limit", "3")
    assert zerosearch(*first).code == 0
    before = [p.read_bytes() for p in list_parts(tmp_path / "c")]
    assert "temperature = 1.0, now it is 0.5" in zerosearch(*first, "--temperature", "0.5").line
    assert [p.read_bytes() for p in list_parts(tmp_path / "c")] == before


def test_a_spent_budget_stops_a_collection_and_a_larger_one_goes_on(
    zerosearch: Any, place: Path, tmp_path: Path
) -> None:
    command = ("collect", str(place / "config.toml"), "--out", str(tmp_path / "c"))
    command += ("--limit", "12", "--concurrency", "2")
    done = zerosearch(*command, "--set", "engine.budget_searches=5")
    assert done.code == 3
    assert "the budget is spent" in done.line
    held = list(read_collection(tmp_path / "c"))
    assert 3 <= len(held) <= 5  # two are played at a time
    done = zerosearch(*command, "--set", "engine.budget_searches=5")
    assert done.code == 3
    assert list(read_collection(tmp_path / "c")) == held  # what was spent before counts
    assert zerosearch(*command, "--set", "engine.budget_searches=14").code == 0
    after = list(read_collection(tmp_path / "c"))
    assert after[: len(held)] == held
    assert len({t.question.id for t in after}) == 12


def test_mistakes_are_one_line(zerosearch: Any, place: Path, tmp_path: Path) -> None:
    config = str(place / "config.toml")
    only_simulated = ("--set", "evaluation.engine=none")
    assert "a real engine is needed" in zerosearch("collect", config, "--out", str(tmp_path), *only_simulated).line
    shallow = ("--depth", "1", "--set", "evaluation.engine.top_k=2")
    told = zerosearch("collect", config, "--out", str(tmp_path), *shallow).line
    assert told == "error: --depth 1: the policy sees more, 2 documents (top_k)"
    assert "holds no part-" in zerosearch("label", config, str(tmp_path)).line
    assert "no such file" in zerosearch("tune", config, str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "a")).line
    assert "a folder that `zerosearch collect` wrote, or --recorded" in zerosearch("label", config).line
    assert "plain .jsonl file" in zerosearch("record", config, "--queries", config, "--out", "a.gz").line
    both = ("--out", str(tmp_path / "a"), "--set", "tune.full=true", "--set", "tune.start=embedded:simulator")
    assert "choose one" in zerosearch("tune", config, str(tmp_path / "none.jsonl"), *both).line
    judge = ("--set", "label.judge.base_url=http://localhost:1/v1")
    assert "label.judge: base_url is set without model" in zerosearch("label", config, str(tmp_path), *judge).line
    real = ("--set", "engine.kind=bm25", "--set", f"engine.bm25.corpus={place / 'corpus.jsonl'}")
    assert "engine.kind must be 'simulated'" in zerosearch("fidelity", config, *real).line


def test_a_hit_predictor_is_fitted_on_recorded_pages_and_measured(zerosearch: Any, place: Path, tmp_path: Path) -> None:
    rows = [
        {
            "query": f"capital of country{n}", "question": f"What is the capital of Country{n}?", "id": str(n),
            "golden_answers": [f"City{n}"], "hops": 1 + n % 2,
            "results": [{"title": "T", "text": f"It is City{n}." if n % 4 else "Nothing."}],
        }
        for n in range(600)
    ]  # fmt: skip
    write_jsonl(tmp_path / "pages.jsonl", rows)
    config, hits = str(place / "config.toml"), str(tmp_path / "hits.json")
    done = zerosearch("tune", config, str(tmp_path / "pages.jsonl"), "--by", "hits", "--out", hits)
    assert done.code == 0, done.err
    assert "600 pages of 600 questions" in done.out
    assert "not used" not in done.out
    idle = ("--set", "tune.rank=2", "--set", "tune.epochs=.1", "--set", "tune.plan=true")  # a plan is the default
    told = zerosearch("tune", config, str(tmp_path / "pages.jsonl"), "--by", "hits", "--out", hits, *idle)
    assert told.code == 0, told.err
    assert "not used: tune.rank, tune.epochs (a predictor of hits is fitted, and no model is tuned)\n" in told.out
    server = Endpoint()
    server.answer = lambda request: Reply(body=completion("[1] Nepal: A country.\n[2] Peru: Another."))
    write_jsonl(tmp_path / "asked.jsonl", [{"id": "1", "question": "nepal 1?", "golden_answers": ["Kathmandu"]}])
    command = ("fidelity", config, "--queries", str(tmp_path / "asked.jsonl"), "--set", f"engine.simulated.hits={hits}")
    served = ("--set", f"engine.simulated.base_url={server.url}", "--set", "engine.simulated.model=served")
    served += ("--set", "engine.simulated.style=instruct")
    try:
        report = zerosearch(*command, *served, "--json")
        shown = zerosearch(*command, "--set", "fidelity.blind=1", *served)
    finally:
        server.stop()
    assert report.code == shown.code == 0, report.err
    row = json.loads(report.out)["decision"]["kinds"]["whole"]
    assert (row["queries"], row["engine"]) == (1, 1.0)
    assert "which pages hit?" in shown.out
    last = " ".join(["next: zerosearch train", config, *command[4:], *served])
    assert (shown.out.splitlines()[-1], "next:" in report.out) == (last, False)


def test_fidelity_reads_its_questions_as_an_evaluation_does(zerosearch: Any, place: Path, tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text('{"frage": "Capital of Nepal?", "golden_answers": ["Kathmandu"]}\n')
    told = f'evaluation.questions="{tmp_path / "other.jsonl"}"', "evaluation.fields='question=frage'"
    done = zerosearch("fidelity", str(place / "config.toml"), "--json", "--set", told[0], "--set", told[1])
    assert done.code == 0, done.err
    assert json.loads(done.out)["whole_pages"] is not None


def test_single_passages_are_learned_and_the_card_has_what_was_used(
    zerosearch: Any, place: Path, tmp_path: Path
) -> None:
    told, other = {"title": "City", "text": "It lies in Nepal."}, {"title": "Lake", "text": "It is deep."}
    rows = [
        {
            "query": f"where is {n}", "question": f"Where is city {n}?", "id": str(n), "golden_answers": ["Nepal"],
            "results": [told, other],
        }
        for n in range(45)
    ]  # fmt: skip
    write_jsonl(tmp_path / "pages.jsonl", rows)
    adapter = tmp_path / "adapter"
    options = [f"tune.{one}" for one in ("epochs=.1", "rank=2", "answer_weight=3", "misdirected=.2")]
    done = zerosearch(
        *("tune", str(place / "config.toml"), str(tmp_path / "pages.jsonl"), "--by", "passages", "--out", str(adapter)),
        *(word for option in options for word in ("--set", option)),
        *("--set", "engine.simulated.max_tokens=64", "--set", "engine.simulated.plan_temperature=0"),
    )
    assert done.code == 0, done.err
    assert used(done.out) == [f"adapter={adapter}", "style=passages", "hits=default", "plan_temperature=none"]
    assert "simulator: 90 texts" in done.out
    assert "tune.misdirected is not used" in done.out
    card = read_card(adapter)
    assert (card["style"], card["answer_weight"]) == ("passages", 3)
    assert not {"plan", "misdirected"} & card.keys()
