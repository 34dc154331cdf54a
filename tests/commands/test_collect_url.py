"""`collect` with a policy behind a URL: a real server, a real index, no tokenizer; what is finished is never lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from engines.conftest import Endpoint, Reply, completion
from small_run import write_config

from zerosearch.files.jsonl import write_jsonl
from zerosearch.learning.learner import _check_finite
from zerosearch.learning.scaling import NotFinite
from zerosearch.models.endpoint import OWN
from zerosearch.simulator.collect import list_parts, read_collection
from zerosearch.spending.books import spent

LIMITS = ("protocol.max_turn_tokens", "protocol.max_page_tokens", "protocol.max_context_tokens", "model.device")
CHANGES = {"model.name": "served-7b", "protocol.max_searches": 2, "engine.top_k": 1, **dict.fromkeys(LIMITS)}
CITIES = {"Nepal": "Kathmandu", "Peru": "Lima", "Österreich": "Wien"}
USAGE = {"prompt_tokens": 200, "completion_tokens": 10}


def policy(request: dict[str, Any]) -> Reply:
    """Searches for the country, then answers with what the page says; stop strings are cut off, as servers do."""
    asked = request["messages"][0]["content"].rsplit("Question: ", 1)[1].strip()
    page = request["messages"][-1]["content"]
    if "<information>\n[1]" not in page:
        return Reply(body=completion(f"<think>?</think><search> {asked} ", usage=USAGE))
    said = page.split("[1] ")[1].split("\n")[0].split()[-1]
    return Reply(body=completion(f"<think>!</think><answer> {said} ", usage=USAGE))


@pytest.fixture
def server(endpoint: Endpoint) -> Endpoint:
    endpoint.answer = policy
    return endpoint


@pytest.fixture
def config(server: Endpoint, tmp_path: Path) -> Path:
    passages = [{"id": c, "title": c, "text": f"{c} {city}"} for c, city in CITIES.items()]
    asked = [{"id": c, "question": c, "golden_answers": [city]} for c, city in CITIES.items()]
    write_jsonl(tmp_path / "corpus.jsonl", passages)
    write_jsonl(tmp_path / "questions.jsonl", asked)
    return write_config(tmp_path / "config.toml", CHANGES, {"model.base_url": server.url})


def test_a_policy_behind_a_url_answers_with_a_real_engine(zerosearch: Any, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "pages"
    prices = ("--set", "model.usd_per_million_prompt_tokens=5", "--set", "model.usd_per_million_completion_tokens=50")
    done = zerosearch("collect", str(config), "--out", str(out), *prices)
    assert done.code == 0, done.err
    assert "3/3 episodes  right 100%  searches 1.00 an episode" in done.out
    assert "1,200 tokens read and 60 written by the policy, 3 searches, $0.01" in done.out
    held = {t.question.id: t for t in read_collection(out)}
    assert {name: t.answer for name, t in held.items()} == CITIES
    for name, t in held.items():
        assert [s.query for s in t.searches] == [name]
        assert bytes(i % OWN for i in t.ids).decode().endswith(f"<answer> {CITIES[name]} </answer>")
        assert [int(i >= OWN) for i in t.ids] == list(t.mask)
    used = spent(out)
    assert used is not None
    assert (used.queries, used.prompt_tokens, used.completion_tokens) == (3, 1200, 60)
    assert used.usd == pytest.approx((1200 * 5 + 60 * 50) / 1e6)
    assert json.loads((out / "collect.json").read_text())["endpoint"] == "chat"


def test_what_was_collected_is_json_and_cannot_be_trained_on(zerosearch: Any, config: Path, tmp_path: Path) -> None:
    assert zerosearch("collect", str(config), "--out", str(tmp_path / "c")).code == 0
    (part,) = list_parts(tmp_path / "c")
    text = zstandard.ZstdDecompressor().decompress(part.read_bytes()).decode()
    row = json.loads(text.split("\n")[0], parse_constant=pytest.fail)  # NaN is no JSON
    assert [x is None for x in row["logprobs"]] == [bool(m) for m in row["mask"]]
    with pytest.raises(NotFinite, match="log-prob of a sampled token is not a number"):
        _check_finite(list(read_collection(tmp_path / "c")))


def test_an_endpoint_that_dies_loses_nothing_that_was_finished(
    zerosearch: Any, config: Path, server: Endpoint, tmp_path: Path
) -> None:
    def dies(request: dict[str, Any]) -> Reply:
        return policy(request) if len(server.requests) <= 3 else Reply(status=401, body=b'{"error": "no such key"}')

    server.answer = dies
    command = ("collect", str(config), "--out", str(tmp_path / "c"), "--concurrency", "1")
    done = zerosearch(*command)
    assert done.code == 3
    assert "the policy served-7b gave no text in 1 attempt: " in done.line
    assert "no such key" in done.line
    assert "run the same command again" in done.line
    assert len(list(read_collection(tmp_path / "c"))) == 1
    server.answer = policy
    done = zerosearch(*command)
    assert done.code == 0, done.err
    assert len(server.requests) == 4 + 4  # two episodes of two turns were left
    assert {t.question.id for t in read_collection(tmp_path / "c")} == set(CITIES)


def test_a_budget_of_dollars_covers_the_policy(zerosearch: Any, config: Path, tmp_path: Path) -> None:
    price = ("--set", "model.usd_per_million_prompt_tokens=1000")  # $.20 a turn
    command = ("collect", str(config), "--out", str(tmp_path / "c"), "--concurrency", "1", *price)
    done = zerosearch(*command, "--set", "engine.budget_usd=0.5")
    assert done.code == 3
    assert "the budget is spent" in done.line
    assert len(list(read_collection(tmp_path / "c"))) == 1
    assert zerosearch(*command, "--set", "engine.budget_usd=9").code == 0


def test_a_collection_asked_for_in_another_way_is_another(zerosearch: Any, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    assert zerosearch("collect", str(config), "--out", str(out)).code == 0
    prompt = "protocol.prompt='{question}'"
    changed = zerosearch(
        "collect", str(config), "--out", str(out), "--set", "model.endpoint=completions", "--set", prompt
    )
    assert "take another --out" in changed.line


def test_a_collection_goes_on_with_more_questions_and_not_with_other_ones(
    zerosearch: Any, config: Path, server: Endpoint, tmp_path: Path
) -> None:
    command = ("collect", str(config), "--out", str(tmp_path / "c"))
    assert zerosearch(*command, "--limit", "2").code == 0
    more = zerosearch(*command)
    assert more.code == 0, more.err
    assert len(server.requests) == 3 * 2  # each episode of two turns once
    assert {t.question.id for t in read_collection(tmp_path / "c")} == set(CITIES)
    rows = (tmp_path / "questions.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "questions.jsonl").write_text("".join([*rows[::-1], rows[0].replace("Nepal", "Chile")]))
    other = zerosearch(*command)
    assert other.code == 2
    assert "was collected with 3 questions, now it is 4, and does not go on with fewer or other ones" in other.line


def test_train_refuses_a_policy_behind_a_url(zerosearch: Any, config: Path, tmp_path: Path) -> None:
    done = zerosearch("train", str(config), "--folder", str(tmp_path / "runs"))
    assert done.code == 2
    assert "model.base_url: a policy behind a URL" in done.line
    assert "not trained" in done.line
    assert not (tmp_path / "runs").exists()


def test_check_shows_the_prompt_and_what_is_not_here(zerosearch: Any, config: Path, server: Endpoint) -> None:
    done = zerosearch("check", str(config), "--set", "model.api_key_env=NO_SUCH_KEY")
    assert done.code == 1, done.err  # the settings are right, and the run would fail
    assert f"prompt, sent to served-7b at {server.url} as the user's message" in done.out
    assert "zerosearch train refuses a policy behind a URL" in done.out
    assert "Question: Nepal\n" in done.out
    assert "model.api_key_env: the environment variable NO_SUCH_KEY is not set" in done.out
    assert not server.requests
    assert "take model.base_url out" in zerosearch("check", str(config), "--text", "<answer>x</answer>").line
