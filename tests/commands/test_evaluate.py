"""`zerosearch evaluate`, run as it is installed: a real small model or a real server, a real BM25 index."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from engines.conftest import Endpoint, Reply, completion
from tiny import chain_model, give_adapter

from zerosearch.config_file import load_config
from zerosearch.episodes.predictions import read_predictions
from zerosearch.evaluation.entrants import Trials
from zerosearch.evaluation.evaluate import evaluate
from zerosearch.evaluation.results import find_results
from zerosearch.usage import Usage

METHODS = "direct,cot,rag,react,search-o1,ircot,tree-search,episode"
SECRET = "sk-mustnotbewrittenanywhere"
CITIES = {"Nepal": "Kathmandu", "Peru": "Lima"}
USAGE = {"prompt_tokens": 40, "completion_tokens": 6}


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers Lima whatever it is asked."""
    ids = tiny_tokenizer.encode("\n<answer>Lima</answer>", add_special_tokens=False)
    following = dict(pairwise(ids))
    assert all(following[a] == b for a, b in pairwise(ids))
    folder = tmp_path_factory.mktemp("models") / "lima"
    local = chain_model(tiny_tokenizer, following)
    local.base.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two benchmarks and a corpus; half of the answers are Lima."""
    (tmp_path / "data").mkdir()
    for name in ("nq", "bamboogle"):
        rows = [
            {"id": f"{name}/{i}", "question": f"Capital of {country}, number {i}?", "golden_answers": [CITIES[country]]}
            for i, country in enumerate(("Nepal", "Peru") * 3)
        ]
        (tmp_path / "data" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    passages = [{"id": c, "title": c, "text": f"{city} is the capital of {c}."} for c, city in CITIES.items()]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in passages))
    return tmp_path


@pytest.fixture
def arguments(data: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(data)
    return [
        "evaluate", "--model", str(model), "--benchmarks", "nq,bamboogle", "--data", "data", "--engine", "bm25",
        "--corpus", "corpus.jsonl", "--out", "out", "--max-tokens", "12", "--set", "model.device=cpu",
        "--set", "protocol.max_turn_tokens=12", "--set", "protocol.max_searches=2",
    ]  # fmt: skip


@pytest.fixture
def local(zerosearch: Any, arguments: list[str]) -> Any:
    """Evaluates methods with the local model; the exit status has to be 0."""

    def run(methods: str, *more: str) -> Any:
        result = zerosearch(*arguments, "--methods", methods, *more)
        assert result.code == 0, result.err
        return result

    return run


def test_one_command_makes_the_table_of_every_method(local: Any, data: Path, zerosearch: Any) -> None:
    result = local(METHODS)
    files = find_results("out")
    assert [(f.header.benchmark, f.header.method) for f in files] == [
        (benchmark, method) for benchmark in ("bamboogle", "nq") for method in sorted(METHODS.split(","))
    ]
    for file in files:
        searching = file.header.method in ("rag", "react", "search-o1", "ircot", "tree-search", "episode")
        assert (file.header.engine == "none") == (not searching), file.header.method
        assert file.missing == 0
        assert {row.answer for row in file.rows} == {"Lima"}, file.header.method
        assert sum(row.em for row in file.rows) == 3
        assert all(row.usage.prompt_tokens > 0 < row.usage.completion_tokens and row.error is None for row in file.rows)
    rag = read_predictions(data / "out" / "nq" / "rag.jsonl")
    assert all(row.saw_answer and len(row.searches) == 1 for row in rag.rows)
    table = json.loads((data / "out" / "table.json").read_text())
    assert [row["method"] for row in table["rows"]] == METHODS.split(",")
    assert table["rows"][0]["macro"]["value"] == 0.5
    assert "| rag | 50.0 [" in (data / "out" / "table.md").read_text()
    assert "tree-search" in result.out
    offered = next(line for line in result.out.splitlines() if line.startswith("next: zerosearch "))
    assert offered == "next: zerosearch compare out:cot out:direct"  # all are even
    assert zerosearch(*offered.split()[2:]).code == 0


def test_a_configuration_names_its_benchmarks_and_how_many_questions_of_each(
    zerosearch: Any, arguments: list[str]
) -> None:
    place = arguments.index("--benchmarks")
    named = ("--set", 'evaluation.benchmarks=["nq", "bamboogle"]', "--set", "evaluation.benchmark_limit=4")
    words = arguments[:place] + arguments[place + 2 :]
    result = zerosearch(*words, "--methods", "direct", *named)
    assert result.code == 0, result.err
    found = {f.header.benchmark: (f.header.count, f.header.limit) for f in find_results("out")}
    assert found == {"nq": (4, 4), "bamboogle": (4, 4)}
    all_of_nq = zerosearch(*words, "--methods", "direct", *named, "--benchmarks", "nq", "--out", "whole")
    assert all_of_nq.code == 0, all_of_nq.err
    assert [f.header.count for f in find_results("whole")] == [6]


def test_a_local_model_is_shown_the_tags_that_it_is_to_write(model: Path, data: Path) -> None:
    """And those that a question holds are not among them."""
    import asyncio

    from zerosearch.config import TrainConfig
    from zerosearch.episodes.generation import Generation, Sampling
    from zerosearch.episodes.questions import Question
    from zerosearch.evaluation.entrants import Setup, parse_methods
    from zerosearch.models.worker import TransformersGenerator
    from zerosearch.parts import Parts

    shown: list[str] = []
    config = TrainConfig.model_validate({"model": {"name": str(model), "device": "cpu"}})
    parts = Parts(config)
    local, _ = parts.models.get(str(model))
    specs = parse_methods("direct")
    entrant = Setup(parts, specs, Trials()).enter(specs[0])

    async def listen(self: TransformersGenerator, prompt_ids: list[int], sampling: Sampling) -> Generation:
        shown.append(local.codec.decode(prompt_ids))
        return Generation([], [], "eos")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransformersGenerator, "generate", listen)
        asyncio.run(entrant.predictor.predict(Question("q", "Is <answer> a tag <|im_end|>?", ("x",)), 0))
    parts.models.close()
    assert "<answer> Lake Titicaca </answer>" in shown[0]
    assert "Question: Is [answer] a tag < |im_end|>?" in shown[0]


def test_a_changed_data_file_is_refused_before_anything_is_asked(
    zerosearch: Any, local: Any, arguments: list[str], data: Path
) -> None:
    local("direct")
    questions = data / "data" / "bamboogle.jsonl"
    questions.write_text(questions.read_text().replace("Kathmandu", "Pokhara"))
    before = (data / "out" / "nq" / "direct.jsonl").read_bytes()
    result = zerosearch(*arguments, "--methods", "direct")
    assert result.code == 2
    assert "was made with other questions (as many, but another seed or file)" in result.err
    assert result.err.strip().count("\n") == 0
    assert (data / "out" / "nq" / "direct.jsonl").read_bytes() == before


def test_several_tries_are_rows_of_their_own(local: Any) -> None:
    local("direct", "--samples", "2", "--temperature", "0.01")
    rows = read_predictions(Path("out/nq/direct.jsonl")).rows
    assert sorted(row.key for row in rows) == [(f"nq/{i}", s) for i in range(6) for s in range(2)]


def test_a_trained_policy_is_asked_as_it_was_trained(
    zerosearch: Any, local: Any, arguments: list[str], data: Path, model: Path, tiny_tokenizer: Any
) -> None:
    """An adapter in a run's folder: that run's base model and protocol, the newest checkpoint."""
    from zerosearch.models.local import LocalModel

    weights = LocalModel.load(str(model), device="cpu")
    give_adapter(weights, "trained", scale=0.0)
    for step in (5, 10):
        checkpoint = data / "runs" / "r1" / "checkpoints" / f"step-{step:06d}"
        weights.save_adapter("trained", checkpoint / "policy")
        (checkpoint / "state.json").write_text("{}")
    (data / "runs" / "r1" / "config.toml").write_text(
        f'[model]\nname = "{model}"\n[protocol]\nmax_searches = 0\nmax_turn_tokens = 9\n'
    )
    local("direct,mine=runs/r1,older=runs/r1/checkpoints/step-000005/policy")
    header = read_predictions(data / "out" / "nq" / "mine.jsonl").header
    assert header.settings["protocol"]["max_searches"] == 2  # --set still holds
    assert header.model.endswith("step-000010/policy")
    assert read_predictions(data / "out" / "nq" / "older.jsonl").header.model.endswith("step-000005/policy")
    plain = [a for a in arguments if not a.startswith("protocol.")]
    plain = [a for a, b in pairwise([*plain, ""]) if not (a == "--set" and b in ("--set", ""))]
    result = zerosearch(*plain, "--out", "plain", "--methods", "mine=runs/r1")
    assert result.code == 0, result.err
    found = read_predictions(data / "plain" / "nq" / "mine.jsonl")
    assert found.header.settings["protocol"]["max_searches"] == 0
    assert found.header.settings["protocol"]["max_turn_tokens"] == 9
    assert found.header.engine == "none"
    assert {row.answer for row in found.rows} == {"Lima"}


def test_rows_of_another_model_stand_in_the_same_table_under_a_label(local: Any) -> None:
    local("direct")
    local("direct,rag", "--label", "again")
    table = json.loads(Path("out/table.json").read_text())
    assert {row["method"] for row in table["rows"]} == {"direct", "direct@again", "rag@again"}


def test_another_engine_is_not_put_into_one_table_unless_asked_for(local: Any) -> None:
    local("rag")
    other = ("--label", "other", "--set", "evaluation.engine.top_k=1")
    assert "not in the table" in local("rag", *other).out
    assert [row["method"] for row in json.loads(Path("out/table.json").read_text())["rows"]] == ["rag@other"]
    local("rag", *other, "--unlike")
    table = json.loads(Path("out/table.json").read_text())
    assert len(table["rows"]) == 2
    assert table["notes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--methods", "ragg"], "'ragg' is none of"),
        (["--methods", "direct", "--samples", "2"], "temperature"),
        (["--methods", "mine="], "names no folder"),
        (["--methods", "direct,direct"], "there twice"),
        (["--methods", "a/b=runs/x"], "name of a file"),
        (["--methods", "mine=nowhere"], "no such folder"),
        (["--methods", "direct", "--benchmarks", "nqq"], "has no nqq.jsonl"),
        (["--methods", "direct", "--set", "model.nmae=x"], "unknown setting model.nmae"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(
    zerosearch: Any, arguments: list[str], change: list[str], message: str
) -> None:
    result = zerosearch(*arguments, *change)
    assert result.code == 2
    assert message in result.err
    assert result.err.strip().count("\n") == 0
    assert not Path("out").exists()


def test_an_engine_that_sees_the_answers_is_never_taken_by_default(zerosearch: Any, data: Path, model: Path) -> None:
    result = zerosearch(
        "evaluate", "--model", str(model), "--methods", "rag", "--benchmarks", str(data / "data/nq.jsonl")
    )
    assert result.code == 2
    assert "--engine bm25 --corpus FILE" in result.err


def policy(request: dict[str, Any]) -> Reply:
    """Searches once where it may, then says what the page says; stop strings are cut off, as servers do."""
    asked, last = request["messages"][0]["content"], request["messages"][-1]["content"]
    found = last.split("[1] ")[1].split(": ")[1].split()[0] if "[1] " in last else None
    if "Action: Search[" in asked:
        page = last.startswith("Observation")
        return Reply(body=completion(f"Action: Finish[{found}]" if page else "Action: Search[Nepal]\n", usage=USAGE))
    if found is None and "<search> and </search>" in asked:
        return Reply(body=completion("<think>?</think><search> Peru ", usage=USAGE))
    return Reply(body=completion(f"<answer> {found or 'Lima'} ", usage=USAGE))


@pytest.fixture
def server(endpoint: Endpoint) -> Endpoint:
    endpoint.answer = policy
    return endpoint


@pytest.fixture
def behind_url(data: Path, server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(data)
    monkeypatch.setenv("ZS_TEST_KEY", SECRET)
    return [
        "evaluate", "--model", "served-7b", "--url", server.url, "--key-env", "ZS_TEST_KEY", "--data", "data",
        "--benchmarks", "nq", "--engine", "bm25", "--corpus", "corpus.jsonl", "--out", "out", "--concurrency", "8",
    ]  # fmt: skip


def test_any_endpoint_is_evaluated_with_its_own_count_of_tokens(
    zerosearch: Any, behind_url: list[str], server: Endpoint, data: Path
) -> None:
    result = zerosearch(*behind_url, "--methods", "direct,rag,react,episode")
    assert result.code == 0, result.err
    rows = {f.header.method: f.rows for f in find_results("out")}
    assert {row.answer for row in rows["direct"]} == {"Lima"}
    assert sum(row.em for row in rows["rag"]) == 6
    assert {row.answer for row in rows["react"]} == {"Kathmandu"}
    assert {row.answer for row in rows["episode"]} == {"Lima"}
    assert {(row.turns, row.usage) for row in rows["episode"]} == {(2, Usage(80, 12))}
    assert {(row.turns, row.usage) for row in rows["direct"]} == {(1, Usage(40, 6))}
    stops = {tuple(request.get("stop", ())) for request in server.requests}
    assert stops == {(), ("\nObservation",), ("</search>", "</answer>")}  # none where nothing was heard of it yet
    assert {headers["authorization"] for headers in server.headers} == {f"Bearer {SECRET}"}
    for path in (data / "out").rglob("*.*"):
        assert SECRET not in path.read_text()


def test_the_command_is_a_call_of_python(behind_url: list[str], server: Endpoint, data: Path) -> None:
    """And a second call asks nothing again."""
    told = ['model.name="served-7b"', f'model.base_url="{server.url}"', 'evaluation.engine.kind="bm25"']
    config = load_config(None, [*told, 'evaluation.engine.bm25.corpus="corpus.jsonl"'])
    said: list[str] = []
    trials = Trials(data=data / "data", concurrency=8)
    table = evaluate(config, ["direct", "rag"], ["nq"], Path("out"), trials, said.append)
    assert [(row.method, row.cells["nq"].value) for row in table.rows if row.cells["nq"]] == [
        ("direct", 0.5),
        ("rag", 1),
    ]
    assert table.complaint == ""
    assert said[0] == "6 questions x 2 methods, engine bm25:corpus, into out/"
    assert {line.split()[1] for line in said[1:]} == {"direct", "rag"}
    assert json.loads(Path("out/table.json").read_text())["rows"] == json.loads(json.dumps(table.as_dict()["rows"]))
    asked = len(server.requests)
    assert evaluate(config, "direct,rag", "nq", Path("out"), trials, said.append).rows == table.rows
    assert len(server.requests) == asked
    server.answer = lambda request: Reply(400, b'{"error": {"message": "overloaded"}}')
    lenient = config.model_copy(update={"engine": config.engine.model_copy(update={"max_error_rate": 1.0})})
    failed = evaluate(lenient, "direct", "nq", Path("out2"), trials, said.append)
    assert failed.complaint.startswith("6 of 6 predictions failed (the last one: ")


def test_a_server_that_breaks_down_stops_the_evaluation_and_the_same_command_goes_on(
    zerosearch: Any, behind_url: list[str], server: Endpoint
) -> None:
    answered = 0

    def breaking(request: dict[str, Any]) -> Reply:
        nonlocal answered
        answered += 1
        return policy(request) if answered <= 2 else Reply(400, b'{"error": {"message": "no such model"}}')

    server.answer = breaking
    result = zerosearch(*behind_url, "--methods", "direct", "--concurrency", "1")
    assert result.code == 3
    assert "4 of 6 replies failed" in result.err
    found = read_predictions(Path("out/nq/direct.jsonl"))
    assert sorted(str(row.error) for row in found.rows) == ["None", "None", "refused", "refused", "refused"]
    server.answer = policy
    assert zerosearch(*behind_url, "--methods", "direct").code == 0
    found = read_predictions(Path("out/nq/direct.jsonl"))
    assert (found.missing, found.failures, len(found.rows)) == (0, {}, 6)  # what failed was asked again


def test_an_evaluation_with_failed_predictions_says_so_and_does_not_exit_0(
    zerosearch: Any, behind_url: list[str], server: Endpoint
) -> None:
    asked: list[str] = []

    def failing_once(request: dict[str, Any]) -> Reply:
        asked.append(request["messages"][0]["content"])
        return Reply(400, b'{"error": {"message": "overloaded"}}') if len(asked) == 2 else policy(request)

    server.answer = failing_once
    result = zerosearch(*behind_url, "--methods", "direct", "--concurrency", "1")
    assert result.code == 3
    assert "1 of 6 predictions failed (the last one: " in result.err
    assert "overloaded" in result.err
    assert ", 1 failed" in Path("out/table.md").read_text()
    assert len(asked) == 6
    assert zerosearch(*behind_url, "--methods", "direct", "--concurrency", "1").code == 0
    assert asked[6:] == [asked[1]]
    assert "failed" not in Path("out/table.md").read_text().replace("| failed |", "")


def test_searches_are_bounded_by_the_budget(zerosearch: Any, behind_url: list[str]) -> None:
    command = [*behind_url, "--methods", "rag", "--concurrency", "1"]
    result = zerosearch(*command, "--set", "engine.budget_searches=4")
    assert result.code == 3
    assert "budget" in result.err
    assert len(read_predictions(Path("out/nq/rag.jsonl")).rows) == 4
    assert zerosearch(*command, "--set", "engine.budget_searches=6").code == 0
    assert read_predictions(Path("out/nq/rag.jsonl")).missing == 0
