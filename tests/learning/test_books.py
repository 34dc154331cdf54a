"""The books of a run in training: exact after a kill, true to what was paid; and where a budget stops it."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.test_trainer import PAGE, Watch, configure, rows_of, searcher, trainer, writes
from learning.toy import ToyEngine, by_two, changed, toy_model, toy_trainer
from torch import distributed

from zerosearch.config import TrainConfig
from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.config import EngineConfig
from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import SearchPage, SearchRequest
from zerosearch.episodes.trajectory import read_trajectories
from zerosearch.errors import BudgetError, EngineError
from zerosearch.files.jsonl import read_rows
from zerosearch.learning.checkpoints import list_checkpoints
from zerosearch.learning.parallel import Processes
from zerosearch.models.waiting import DecodingTotals
from zerosearch.models.worker import Worker
from zerosearch.parts import Parts
from zerosearch.spending.books import ledger_of, numbers, read_books, spent
from zerosearch.spending.ledger import Ledger, counted
from zerosearch.usage import Usage

PRELOADED = ["zerosearch.learning.trainer", "transformers.models.llama.modeling_llama"]
PRICE = 0.1  # has no exact binary form: a sum in another order would show


class PaidEngine(ToyEngine):
    """Charges for every search; green ones fail where `moody`. Counts in a file too, which survives a kill."""

    def __init__(self, *, moody: bool = False, tally: Path | None = None, dies_at: int | None = None) -> None:
        self.moody, self.tally, self.dies_at = moody, tally, dies_at
        self.asked = 0

    async def search(self, request: SearchRequest) -> SearchPage:
        self.asked += 1
        if self.tally is not None:
            with self.tally.open("ab") as out:
                out.write(b".")
            if self.tally.stat().st_size == self.dies_at:
                os.kill(os.getpid(), signal.SIGKILL)
        assert request.question is not None
        if self.moody and request.question.text == "green":
            raise EngineError("empty", "nothing", attempts=3, usage=Usage(prompt_tokens=30, usd=3 * PRICE))
        page = await super().search(request)
        return replace(page, usage=Usage(prompt_tokens=10, completion_tokens=5, usd=PRICE))


def evaluations(config: TrainConfig) -> dict[str, Any]:
    return {p.name: json.loads(p.read_text()) for p in (config.run_folder / "evaluations").glob("*.json")}


def cost(config: TrainConfig) -> dict[str, Any]:
    found = json.loads((config.run_folder / "cost.json").read_text())
    assert found["schema"] == 1
    return dict(found)


# ---- what is counted


def test_every_step_and_evaluation_has_its_ledger_and_their_sum_grows(tmp_path: Path) -> None:
    config = changed(configure(tmp_path, engine={"max_error_rate": 1.0}), evaluation__every=2)
    engine, watch = PaidEngine(moody=True), Watch()
    assert trainer(config, engine, watch=watch).run()
    folder = config.run_folder
    so_far = [ledger_of(evaluations(config)["step-000000.json"])]
    for row in rows_of(config):
        step = row["step"]
        if step == 2:
            so_far.append(ledger_of(evaluations(config)["step-000002.json"]))
        episodes = list(read_trajectories(folder / f"trajectories/step-{step:06d}.jsonl.zst"))
        played = Ledger.of(episodes)
        assert row["ledger"] == numbers(played)
        assert row["cost_usd"] == played.usd
        assert played.failed == row["search_errors"] > 0
        paid = [s for t in episodes for s in t.searches if not s.cached]
        times = len(paid) + 2 * sum(s.error is not None for s in paid)  # failed ones were paid thrice
        assert played.usd == pytest.approx(PRICE * times)
        assert played.prompt_tokens == 10 * times
        so_far.append(played)
        assert row["cost"] == {"usd": Ledger.total(so_far).usd, "searches": Ledger.total(so_far).queries}
    judged_at = {name: ledger_of(e) for name, e in evaluations(config).items()}
    assert judged_at.keys() == {f"step-{step:06d}.json" for step in (0, 2, 4)}
    so_far.append(judged_at["step-000004.json"])
    books = read_books(folder)
    assert numbers(books.standing) == numbers(Ledger.total(so_far))
    assert books.standing.asked == engine.asked == books.spent.asked
    assert Ledger.from_dict(cost(config)["standing"]) == books.standing
    assert Ledger.from_dict(cost(config)["spent"]).as_dict() == pytest.approx(books.spent.as_dict())


def test_a_failed_searchs_time_is_in_the_trajectory_and_in_the_row(tmp_path: Path) -> None:
    config = configure(tmp_path, engine={"max_error_rate": 1.0}, steps=1)
    watch = Watch()
    assert trainer(config, PaidEngine(moody=True), watch=watch).run()
    (path,) = (config.run_folder / "trajectories").iterdir()
    failed = [s for t in read_trajectories(path) for s in t.searches if s.error]
    assert failed
    paid = [s for s in failed if not s.cached]
    assert paid
    assert all(s.seconds > 0 for s in failed)
    assert all(s.usage.usd == 3 * PRICE and s.usage.prompt_tokens == 30 for s in paid)
    assert watch.rows[0]["timing"]["search_seconds"] == pytest.approx(sum(s.seconds for s in failed))


def test_the_queries_of_the_leak_rate_are_paid_and_counted(tmp_path: Path) -> None:
    config = configure(tmp_path, engine={}, steps=1)
    judge = {"kind": "bm25", "top_k": 1, "bm25": {"corpus": str(tmp_path / "corpus.jsonl")}}
    config = changed(config, evaluation__transfer_limit=6, evaluation__engine=judge)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "1", "title": "Paint", "text": "gold and green"}\n')
    real = BM25Engine.open(corpus, cache=tmp_path / "cache")
    assert trainer(config, writes(PAGE), judge=real).run()
    for record in evaluations(config).values():
        assert record["transfer"]["leak_queries"] < 6  # those that the real engine could not answer
        # 8 questions with the real engine, 6 with the simulated one, and 6 queries asked of the real one again
        assert ledger_of(record).queries == 8 + 6 + 6


def test_the_simulators_seconds_are_those_of_the_step(tmp_path: Path) -> None:
    config = configure(tmp_path, engine={}, steps=3)
    clock = iter([0.0, 1.0, 1.0, 3.0, 3.0, 7.0, 7.0, 15.0, 15.0, 31.0])  # before and after: eval, 3 steps, eval
    made = trainer(config, writes(PAGE))
    made.inputs = replace(made.inputs, simulator_seconds=lambda: next(clock))
    assert made.run()
    rows = list(read_rows(config.run_folder / "metrics.jsonl"))
    assert [row["timing"]["simulator_decode_seconds"] for row in rows] == [2.0, 4.0, 8.0]
    assert [e["timing"]["simulator_decode_seconds"] for e in evaluations(config).values()] in ([1.0, 16.0], [16.0, 1.0])
    books = read_books(config.run_folder)
    assert books.standing.simulator_seconds == books.spent.simulator_seconds == 31.0
    assert "simulator_seconds" not in rows[0]["ledger"]


def test_only_the_decoding_of_local_simulators_is_timed() -> None:
    model = toy_model()
    worker = Worker(model)
    parts = Parts(TrainConfig())
    models = parts.models
    models.loaded["toy", False] = (model, worker)
    assert models.simulator_seconds() == 0.0
    assert not models.simulating
    engine = parts.open_engine(EngineConfig.model_validate({"simulated": {"model": "toy", "max_tokens": 16}}))
    request = SearchRequest("red", 1, Question("q", "red", ("red",)))
    page = asyncio.run(engine.search(request))
    worker.totals["policy"] = DecodingTotals(seconds=100.0)  # the policy's own turns are no search
    assert 0 < models.simulator_seconds() == worker.totals[None].seconds
    assert page.usage.completion_tokens >= 1
    assert page.usage.prompt_tokens > 10
    models.close()


# ---- killed and resumed


def _run_paid(config: TrainConfig, tally: Path, dies_at: int | None) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    trainer(config, PaidEngine(tally=tally, dies_at=dies_at)).run()


def test_a_kill_neither_loses_nor_doubles_a_search_that_stands(tmp_path: Path) -> None:
    steps = {"steps": 8, "checkpoint_every": 2}
    whole = changed(configure(tmp_path / "whole", **steps), evaluation__every=3)
    engine = PaidEngine()
    assert trainer(whole, engine).run()
    config = changed(configure(tmp_path / "killed", **steps), evaluation__every=3)
    tally = tmp_path / "tally"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    deaths = [3, 11, 27, 45, 80]  # in the first evaluation, in steps, and right after going on
    for dies_at in (*deaths, None):
        process = context.Process(target=_run_paid, args=(config, tally, dies_at))
        process.start()
        process.join()
        assert process.exitcode == (0 if dies_at is None else -signal.SIGKILL)
        books = read_books(config.run_folder) if (config.run_folder / "spending.jsonl").exists() else None
        if books is not None:
            assert books.standing.queries <= books.spent.queries <= tally.stat().st_size
    assert rows_of(config) == rows_of(whole)
    assert evaluations(config) == evaluations(whole)
    assert cost(config)["standing"] == cost(whole)["standing"]
    assert cost(whole)["standing"]["queries"] == engine.asked
    found = spent(config.run_folder)
    lost = tally.stat().st_size - found.queries
    assert engine.asked < found.queries  # what was searched twice was paid twice
    assert 0 <= lost <= 17 * len(deaths)  # at most the 16 that were not noted yet, and the one in flight


# ---- budgets


class Idle:
    """A generator that is not to be asked: no turn is decoded where no search could follow it."""

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        raise AssertionError

    def sync(self) -> None:
        pass


def whole_run(tmp_path: Path) -> tuple[TrainConfig, PaidEngine]:
    config = changed(configure(tmp_path / "whole", steps=5, checkpoint_every=2), evaluation__every=2)
    engine = PaidEngine()
    assert trainer(config, engine).run()
    return config, engine


@pytest.mark.parametrize("first", [1, 8, 17, 30])
def test_a_spent_budget_stops_with_a_checkpoint_and_a_larger_one_goes_on_exactly(first: int, tmp_path: Path) -> None:
    whole, paid = whole_run(tmp_path)
    config = changed(whole, folder=str(tmp_path / "parts"))
    engine, budget, stops = PaidEngine(), first, 0
    while True:
        try:
            assert trainer(changed(config, engine__budget_searches=budget), engine).run()
            break
        except BudgetError as error:
            text, code = str(error), error.exit_code
        assert engine.asked <= budget
        assert code == 3
        done = list_checkpoints(config.run_folder / "checkpoints")[-1].step
        assert len(rows_of(config)) == done
        assert text.startswith(f"engine.budget_searches = {budget} is reached: ${engine.asked * PRICE:.2f} and ")
        assert (
            f"{counted(engine.asked, 'search', 'searches')} are spent. Stopped after step {done} of 5 with a checkpoint"
            in text
        )
        assert "\n" not in text
        assert cost(config)["budget"] == {"usd": None, "searches": budget}
        before = engine.asked
        again = trainer(changed(config, engine__budget_searches=budget), engine)
        again.inputs = replace(again.inputs, generator=Idle())
        with pytest.raises(BudgetError, match=f"Stopped after step {done} of 5"):  # the same again buys nothing
            again.run()
        assert engine.asked == before == cost(config)["spent"]["queries"]
        budget, stops = budget + 25, stops + 1
        assert stops < 20
    assert stops
    assert rows_of(config) == rows_of(whole)
    assert evaluations(config) == evaluations(whole)
    assert cost(config)["standing"] == cost(whole)["standing"]
    assert cost(config)["spent"]["queries"] == engine.asked > paid.asked  # given-up steps were paid for too


def test_dollars_stop_a_run_as_searches_do_and_failed_ones_count(tmp_path: Path) -> None:
    config = configure(tmp_path, engine={"max_error_rate": 1.0}, steps=3)
    engine = PaidEngine(moody=True)
    with pytest.raises(BudgetError, match=r"engine\.budget_usd = 3 is reached: \$3\.[0-3]0 and"):
        trainer(changed(config, engine__budget_usd=3.0), engine).run()
    found = spent(config.run_folder)
    assert 3.0 - 1e-9 <= found.usd <= 3.0 + 3 * PRICE  # the one search in flight
    assert found.asked == engine.asked
    assert trainer(changed(config, engine__budget_usd=1000.0), engine).run()
    assert [row["step"] for row in rows_of(config)] == [0, 1, 2]


def test_a_budget_that_stops_before_the_first_step_keeps_the_first_evaluation(tmp_path: Path) -> None:
    config = configure(tmp_path, steps=1)
    engine = PaidEngine()
    with pytest.raises(BudgetError, match="Stopped after step 0 of 1"):
        trainer(changed(config, engine__budget_searches=8), engine).run()
    assert [c.step for c in list_checkpoints(config.run_folder / "checkpoints")] == [0]
    assert {p.stem for p in (config.run_folder / "evaluations").iterdir()} == {"step-000000"}  # nor its predictions
    said: list[str] = []
    made = trainer(changed(config, engine__budget_searches=100), engine)
    made.say = said.append
    assert made.run()
    assert [text for text in said if text.startswith("evaluating")] == ["evaluating after 1 step: 8 questions, toy"]


def _one_of_two(rank: int, port: int, config: TrainConfig, tally: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    made = toy_trainer(config, searcher(), processes=Processes(rank, 2))
    engine = PaidEngine(tally=tally)
    made.inputs = replace(made.inputs, engine=engine, evaluation_engine=engine)
    try:
        made.run()
        code = 0
    except BudgetError as error:
        code = error.exit_code
    distributed.destroy_process_group()
    os._exit(code)


def test_processes_share_a_budget_and_stop_together(tmp_path: Path) -> None:
    alone = configure(tmp_path / "alone", steps=1, questions_per_step=6, rollouts=8)
    assert toy_trainer(alone, searcher()).run()
    (row,) = rows_of(alone)
    first = ledger_of(evaluations(alone)["step-000000.json"]).queries
    budget = first + row["ledger"]["queries"] // 2  # the step needs twice as much
    config = configure(tmp_path / "two", steps=1, questions_per_step=6, rollouts=8)
    config = changed(config, engine__budget_searches=budget)
    tally = tmp_path / "tally"
    assert by_two(_one_of_two, config, tally) == [3, 3]
    found = spent(config.run_folder)
    assert first < found.queries == tally.stat().st_size <= budget
    assert {path.name for path in config.run_folder.glob("spending*")} == {"spending.jsonl", "spending-1.jsonl"}
    assert len(list_checkpoints(config.run_folder / "checkpoints")) == 1
