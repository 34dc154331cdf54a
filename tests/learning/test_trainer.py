"""The loop: which questions, how noisy, what is written, and what a dead engine, a clock or a NaN leaves behind."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from learning.toy import WORDS, ToyEngine, toy_config, toy_model, toy_trainer

from zerosearch.config import TrainConfig
from zerosearch.config_file import config_from_dict
from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.cache import Cached
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.predictions import read_predictions
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest
from zerosearch.episodes.trajectory import Trajectory, read_trajectories
from zerosearch.errors import EngineError, RunError
from zerosearch.files.jsonl import read_rows
from zerosearch.learning.checkpoints import list_checkpoints
from zerosearch.learning.trainer import Trainer
from zerosearch.models.chat import Written
from zerosearch.models.local import LocalModel
from zerosearch.models.retry import Retry
from zerosearch.simulator.engine import SimulatedEngine

PAGE = "[1] Paint: the color is blue."
METRICS = {
    "step", "reward", "em", "f1", "searches", "valid_actions", "well_formed", "answered", "evidence", "policy_tokens",
    "episodes", "noisy_pages", "pages_parsed", "cache_hits", "engine_calls",
    "search_errors", "cost_usd", "stops", "noise", "trained_rows", "timing", "ledger", "cost",
}  # fmt: skip
LEARNED = {
    "loss", "grad_norm", "kl", "entropy", "clip_fraction", "ratio_mean", "ratio_max", "approx_kl", "sampler_gap_max",
    "sampler_gap",
}  # fmt: skip
TIMING = {"seconds", "rollout_seconds", "update_seconds", "policy_tokens_per_second", "search_seconds"}


def searcher() -> LocalModel:
    """A toy that does what its last token says: mostly it searches for gold, and then answers blue."""
    model = toy_model()
    following = {
        "red": "<search>", "green": "<search>", "<search>": "gold", "gold": "</search>",
        "<unk>": "<answer>", "<answer>": "blue", "blue": "</answer>",
    }  # fmt: skip
    base: Any = model.base
    with torch.no_grad():
        for layer in base.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        base.model.embed_tokens.weight.copy_(torch.eye(len(WORDS), base.config.hidden_size))
        looks = base.model.norm(base.model.embed_tokens.weight)
        base.lm_head.weight.zero_()
        for last, after in following.items():
            base.lm_head.weight[WORDS.index(after)] += 0.15 * looks[WORDS.index(last)]
    return model


def questions(count: int = 12) -> list[Question]:
    """Red ones, to which the searcher's answer is right, and green ones, to which it is not."""
    return [Question(f"t{i}", ("red", "green")[i % 2], (("blue", "green")[i % 2],)) for i in range(count)]


class TextWriter:
    """Writes what `text` makes of the chat and the seed."""

    model = identity = "script"

    def __init__(self, text: Callable[[str, int], str]) -> None:
        self.text = text

    async def write(self, messages: Sequence[Message], sampling: Sampling) -> Written:
        return Written(self.text("\n".join(m["content"] for m in messages), sampling.seed))


def writes(text: str) -> SimulatedEngine:
    return SimulatedEngine(TextWriter(lambda chat, seed: text))


class DyingEngine(ToyEngine):
    """A toy engine that fails from the `lives`-th search on."""

    def __init__(self, lives: int) -> None:
        self.lives = lives

    async def search(self, request: SearchRequest) -> SearchPage:
        self.lives -= 1
        if self.lives < 0:
            raise EngineError("connection", "nobody\nthere", attempts=2)
        return await super().search(request)


class Watch:
    """A sink that keeps the rows, and does something after a step."""

    def __init__(self, after: dict[int, Any] | None = None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.after = after or {}

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if row["step"] in self.after:
            self.after[row["step"]]()

    def close(self) -> None:
        pass


def configure(folder: Path, *, engine: dict[str, Any] | None = None, **training: Any) -> TrainConfig:
    """Small steps; the engine is a real one unless `engine` says otherwise."""
    defaults = {"steps": 4, "questions_per_step": 4, "rollouts": 3}
    values = toy_config(folder, {"name": "grpo", "kl": "loss"}, **(defaults | training)).model_dump(mode="json")
    values["model"]["lora"] = "none"
    values["logging"]["trajectories_every"] = 1
    if engine is not None:
        values["engine"] = {"kind": "simulated", "top_k": 1, **engine}
    return config_from_dict(values, "test")


def trainer(
    config: TrainConfig, engine: SearchEngine | None = None, *, judge: SearchEngine | None = None, watch: Any = None
) -> Trainer:
    """`engine` for training, `judge` (else the engine) for evaluation; the policy is a `searcher`."""
    made = toy_trainer(config, searcher())
    engine = engine or made.inputs.engine
    made.inputs = replace(
        made.inputs,
        questions=questions(),
        evaluation_questions=questions(8),
        engine=engine,
        evaluation_engine=judge or engine,
    )
    made.sinks = [watch] if watch is not None else []
    return made


def rows_of(config: TrainConfig) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in row.items() if key != "timing"}
        for row in read_rows(config.run_folder / "metrics.jsonl")
    ]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


# ---- questions and curriculum


@pytest.mark.parametrize("size", [1, 4, 5, 12, 30])
def test_every_question_once_an_epoch_in_an_order_of_its_own(size: int, tmp_path: Path) -> None:
    made = trainer(configure(tmp_path, questions_per_step=size))
    asked = [question.id for step in range(60 // size) for question in made.batch(step)]
    epochs = [asked[start : start + 12] for start in range(0, len(asked) - 11, 12)]
    assert len(epochs) >= 4
    for epoch in epochs:
        assert Counter(epoch) == Counter(q.id for q in questions())
    assert epochs[0] != epochs[1]


def test_a_steps_questions_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    config = configure(tmp_path, questions_per_step=10)
    forward, backward = trainer(config), trainer(config)
    batches = [forward.batch(step) for step in range(8)]
    assert [backward.batch(step) for step in reversed(range(8))] == batches[::-1]
    assert trainer(config.model_copy(update={"seed": 5})).batch(0) != batches[0]


def test_the_noise_of_each_step_is_the_curriculums_and_is_recorded(tmp_path: Path) -> None:
    config = configure(tmp_path, engine={}, rollouts=8)
    config = config.model_copy(
        update={"curriculum": config.curriculum.model_copy(update={"kind": "linear", "start": 0.0, "end": 1.0})}
    )
    assert trainer(config, writes(PAGE)).run()
    rows = rows_of(config)
    assert [row["noise"] for row in rows] == [0.0, 0.25, 0.5, 0.75]
    for row in rows:
        played = list(read_trajectories(config.run_folder / "trajectories" / f"step-{row['step']:06d}.jsonl.zst"))
        searches = [search for t in played for search in t.searches]
        assert len(searches) >= 5
        assert {search.noise for search in searches} == {row["noise"]}
        noisy = sum(search.quality == "noisy" for search in searches) / len(searches)
        assert noisy == pytest.approx(row["noisy_pages"])
    noisy_steps = [row["step"] for row in rows if row["noisy_pages"]]
    assert 0 not in noisy_steps
    assert len(noisy_steps) >= 2
    for path in (config.run_folder / "evaluations").glob("*.jsonl"):  # judged with useful pages, whatever the step
        assert {s.quality for row in read_predictions(path).rows for s in row.searches} == {"useful"}


def test_adaptive_noise_goes_by_the_rewards_of_the_steps_before_also_after_a_resume(tmp_path: Path) -> None:
    def adaptive(folder: Path, **training: Any) -> TrainConfig:
        config = configure(folder, engine={}, steps=6, **training)
        kind = {"kind": "adaptive", "start": 0.0, "end": 0.6, "rate": 0.2, "target": 0.4}
        return config.model_copy(update={"curriculum": config.curriculum.model_copy(update=kind)})

    whole = adaptive(tmp_path / "whole")
    assert trainer(whole, writes(PAGE)).run()
    rows = rows_of(whole)
    curriculum, rewards = whole.curriculum.build(), [row["reward"] for row in rows]
    assert [row["noise"] for row in rows] == [curriculum.noise(step, 6, rewards[:step]) for step in range(6)]
    assert len({row["noise"] for row in rows}) > 1
    parts = adaptive(tmp_path / "parts", max_minutes=1e-9)
    while not trainer(parts, writes(PAGE)).run():
        pass
    assert rows_of(parts) == rows


# ---- what is written


def test_the_run_folder_and_its_rows_hold_what_they_promise(tmp_path: Path) -> None:
    config = configure(tmp_path, checkpoint_every=2, keep_checkpoints=2)
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"every": 1})})
    watch = Watch()
    assert trainer(config, watch=watch).run()
    folder = config.run_folder
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    expected = {"metrics.jsonl", "spending.jsonl", "cost.json"}
    for step in range(4):
        expected.add(f"trajectories/step-{step:06d}.jsonl.zst")
    for step in range(5):
        expected |= {f"evaluations/step-{step:06d}.json", f"evaluations/step-{step:06d}.jsonl"}
    for step in (2, 4):
        expected |= {f"checkpoints/step-{step:06d}/{name}" for name in ("learner.pt", "state.json")}
    assert {name for name in found if "/policy/" not in name} == expected
    assert any(name.startswith("checkpoints/step-000004/policy/") for name in found)
    rows = list(read_rows(folder / "metrics.jsonl"))
    assert rows == watch.rows
    assert [row["step"] for row in rows] == list(range(4))
    for row in rows:
        assert row.keys() >= METRICS | LEARNED
        assert row["timing"].keys() == TIMING
        assert row["episodes"] == row["trained_rows"] == 12
        assert sum(row["stops"].values()) == 12
        assert row["searches"] > 0.5
        assert (row["noise"], row["noisy_pages"]) == (None, 0.0)  # the engine is a real one
        assert row["sampler_gap_max"] < 1e-4
        json.dumps(row, allow_nan=False)
        played = list(read_trajectories(folder / f"trajectories/step-{row['step']:06d}.jsonl.zst"))
        assert [(t.step, t.group, t.rollout) for t in played] == [(row["step"], i // 3, i % 3) for i in range(12)]
        assert sum(t.reward for t in played) / 12 == pytest.approx(row["reward"])


def test_an_evaluation_is_greedy_and_says_how_it_was_made(tmp_path: Path) -> None:
    config = configure(tmp_path, steps=1)
    made = trainer(config)
    assert made.run()
    for step in (0, 1):
        record = json.loads((config.run_folder / "evaluations" / f"step-{step:06d}.json").read_text())
        assert record["step"] == step
        assert record["summary"]["questions"] == 8
        assert (record["engine"], record["top_k"], record["temperature"], record["seed"]) == ("toy", 1, 0.0, 0)
        assert len(record["questions_digest"]) == 64
        found = read_predictions(config.run_folder / "evaluations" / f"step-{step:06d}.jsonl")
        assert [row.id for row in found.rows] == [q.id for q in made.inputs.evaluation_questions]
        assert sum(row.em for row in found.rows) / 8 == record["summary"]["em"]
        assert sum(row.usage.completion_tokens for row in found.rows) / 8 == record["summary"]["policy_tokens"]
        assert found.header.questions_digest == record["questions_digest"]
        assert found.header.settings["step"] == step
        assert all(row.text for row in found.rows)


def test_transfer_is_measured_where_a_simulator_trains_and_a_real_engine_judges(tmp_path: Path) -> None:
    """The searcher asks for gold. The simulator's page always holds blue, the real engine's only green."""
    config = configure(tmp_path, engine={}, steps=1)
    judged = config.evaluation.model_copy(
        update={"transfer_limit": 6, "engine": config.engine.model_copy(update={"kind": "bm25"})}
    )
    config = config.model_copy(update={"evaluation": judged})
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "1", "title": "Paint", "text": "gold and green"}\n')
    real = BM25Engine.open(corpus, cache=tmp_path / "cache")
    assert trainer(config, writes(PAGE), judge=real).run()
    for step in (0, 1):
        record = json.loads((config.run_folder / "evaluations" / f"step-{step:06d}.json").read_text())
        assert record["engine"] == "bm25:corpus"
        assert record["transfer"] == {
            "questions": 6, "simulated_f1": 0.5, "real_f1": 0.5, "transfer_gap": 0.0, "simulated_searches": 1.0,
            "leak_queries": 3, "leak_rate": 1.0, "pages_parsed": 1.0,
        }  # fmt: skip


def test_the_share_of_searches_that_the_cache_answered_is_a_metric(tmp_path: Path) -> None:
    config = configure(tmp_path, steps=1)
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "1", "title": "Paint", "text": "gold and green"}\n')
    engine = Cached(BM25Engine.open(corpus, cache=tmp_path / "cache"), tmp_path / "pages.sqlite")
    assert trainer(config, engine).run()
    (row,) = rows_of(config)
    (path,) = (config.run_folder / "trajectories").iterdir()
    searches = [search for t in read_trajectories(path) for search in t.searches]
    assert row["cache_hits"] == pytest.approx(sum(s.cached for s in searches) / len(searches))
    assert 0 < row["cache_hits"] <= 1
    assert row["engine_calls"] < len(searches)


# ---- engines that fail


def test_an_engine_that_dies_halfway_loses_nothing_and_the_same_run_goes_on(tmp_path: Path) -> None:
    whole = configure(tmp_path / "whole", checkpoint_every=1)
    assert trainer(whole).run()
    config = configure(tmp_path / "broken", checkpoint_every=1)
    engine = DyingEngine(10**6)

    def dies() -> None:
        engine.lives = 0

    with pytest.raises(RunError, match=r"searches failed|every search"):
        trainer(config, engine, watch=Watch({1: dies})).run()
    assert rows_of(config) == rows_of(whole)[:2]
    assert [c.step for c in list_checkpoints(config.run_folder / "checkpoints")][-1] == 2
    assert trainer(config).run()
    assert rows_of(config) == rows_of(whole)


def test_a_step_in_which_every_search_fails_stops_the_run_even_without_a_limit(tmp_path: Path) -> None:
    config = configure(tmp_path, engine={"max_error_rate": 1.0})
    with pytest.raises(RunError, match=r"every search of this step failed \(connection\): is the engine toy up\?"):
        trainer(config, DyingEngine(0), judge=ToyEngine()).run()
    assert not (config.run_folder / "metrics.jsonl").exists()


def test_nonsense_from_the_simulator_is_kept_and_counted(tmp_path: Path) -> None:
    config = configure(tmp_path, engine={}, steps=1)
    assert trainer(config, writes("lorem ipsum\x00 \ud83d </information> <answer>red</answer>")).run()
    (row,) = rows_of(config)
    assert row["pages_parsed"] == 0.0
    assert row["search_errors"] == 0
    (path,) = (config.run_folder / "trajectories").iterdir()
    played = list(read_trajectories(path))
    searches = [search for t in played for search in t.searches]
    assert searches
    assert all(not s.parsed and s.documents[0].text.startswith("lorem ipsum") for s in searches)
    assert all(t.answer != "red" for t in played if t.searches)  # the page cannot answer for the policy


def test_empty_pages_fail_their_episode_and_are_counted(tmp_path: Path) -> None:
    """About green nothing is written: those episodes end there. Every other page about red is out of form."""
    config = configure(tmp_path, engine={"max_error_rate": 1.0}, steps=1, questions_per_step=8)
    writer = TextWriter(lambda chat, seed: " " if "green" in chat else PAGE if seed % 2 else "what?")
    engine = SimulatedEngine(writer, retry=Retry(attempts=2, backoff_seconds=0.0))
    assert trainer(config, engine).run()
    (row,) = rows_of(config)
    (path,) = (config.run_folder / "trajectories").iterdir()
    played = list(read_trajectories(path))
    failed = [t for t in played if t.question.text == "green" and t.searches]
    assert failed
    asked = [(t.question.id, s.query) for t in failed for s in t.searches if not s.cached]
    assert {(s.error, s.attempts) for t in failed for s in t.searches if not s.cached} == {("empty", 2)}
    assert 0 < len(asked) == len(set(asked))  # nothing is asked twice in a step
    assert row["search_errors"] == row["stops"]["engine_error"] == len(failed)
    assert row["trained_rows"] == 24 - len(failed)
    came = [s for t in played for s in t.searches if s.error is None]
    assert row["pages_parsed"] == pytest.approx(sum(s.parsed for s in came) / len(came))
    assert 0 < row["pages_parsed"] < 1


# ---- connections


class ConnectedEngine(ToyEngine):
    """Knows the loops in which it was asked and closed. From the `lives`-th search on the run cannot go on."""

    def __init__(self, lives: int = 1000) -> None:
        self.lives = lives
        self.asked: set[int] = set()
        self.closed: list[int] = []

    async def search(self, request: SearchRequest) -> SearchPage:
        self.asked.add(id(asyncio.get_running_loop()))
        self.lives -= 1
        if self.lives < 0:
            raise RunError("enough")
        return await super().search(request)

    async def aclose(self) -> None:
        self.closed.append(id(asyncio.get_running_loop()))


def test_connections_are_closed_once_in_the_loop_they_were_opened_in(tmp_path: Path) -> None:
    engine, judge = ConnectedEngine(), ConnectedEngine()
    assert trainer(configure(tmp_path / "two", steps=1), engine, judge=judge).run()
    for part in (engine, judge):
        assert part.asked
        assert part.closed == list(part.asked)  # one loop, one time
    alone = ConnectedEngine()
    assert trainer(configure(tmp_path / "one", steps=1), alone).run()
    assert len(alone.closed) == 1


def test_connections_are_closed_when_a_run_ends_by_an_error(tmp_path: Path) -> None:
    engine = ConnectedEngine(lives=2)
    with pytest.raises(RunError, match="enough"):
        trainer(configure(tmp_path, steps=1), engine).run()
    assert engine.closed == list(engine.asked)


# ---- clocks, NaN, going on


def test_out_of_time_it_stops_with_a_checkpoint_and_the_same_run_goes_on(tmp_path: Path) -> None:
    whole = configure(tmp_path / "whole")
    assert trainer(whole).run()
    config = configure(tmp_path / "parts", max_minutes=1e-9)
    said: list[str] = []
    for step in (1, 2, 3):
        made = trainer(config)
        made.say = said.append
        assert not made.run()
        assert [c.step for c in list_checkpoints(config.run_folder / "checkpoints")][-1] == step
        assert said[-1] == f"stopped after step {step} of 4: training.max_minutes = 1e-09 is reached"
    assert trainer(config).run()
    assert rows_of(config) == rows_of(whole)


def test_a_complete_run_does_nothing_and_says_so(tmp_path: Path) -> None:
    config = configure(tmp_path, steps=1)
    assert trainer(config).run()
    before = {name: data for name, (data, _) in contents(config.run_folder).items()}
    said: list[str] = []
    watch = Watch()
    made = trainer(config, DyingEngine(0), watch=watch)  # would be found out if it were asked
    made.say = said.append
    assert made.run()
    assert any(line.startswith(f"{config.run_folder} is complete: 1 step; a larger training.steps") for line in said)
    assert {name: data for name, (data, _) in contents(config.run_folder).items()} == before
    assert not watch.rows


def test_a_complete_run_without_its_last_evaluation_makes_up_for_it(tmp_path: Path) -> None:
    config = configure(tmp_path, steps=1)
    assert trainer(config).run()
    path = config.run_folder / "evaluations" / "step-000001.json"
    before = path.read_text()
    path.unlink()
    assert trainer(config).run()
    assert path.read_text() == before


def test_a_reward_that_is_no_number_stops_the_run_and_leaves_the_batch_and_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(tmp_path, checkpoint_every=1)
    made = trainer(config)
    update = made.inputs.learner.update

    def spoilt(rows: Sequence[Trajectory], step: int) -> dict[str, float]:
        return update([replace(rows[0], reward=math.nan), *rows[1:]] if step == 2 else rows, step)

    monkeypatch.setattr(made.inputs.learner, "update", spoilt)
    with pytest.raises(RunError, match="step 2: ") as caught:
        made.run()
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code != 0
    saved = config.run_folder / "not-finite-step-000002.jsonl.zst"
    assert str(saved) in str(caught.value)
    assert len(list(read_trajectories(saved))) == 12
    assert len(rows_of(config)) == 2
    assert list_checkpoints(config.run_folder / "checkpoints")[-1].step == 2
    assert trainer(config).run()  # the same command, mended
    assert len(rows_of(config)) == 4


def test_weights_that_are_no_numbers_stop_the_run_at_the_step_that_samples_from_them(tmp_path: Path) -> None:
    def poison() -> None:
        with torch.no_grad():
            made.inputs.learner.policy.model.base.lm_head.weight.fill_(math.nan)

    config = configure(tmp_path)
    made = trainer(config, watch=Watch({1: poison}))
    with pytest.raises(RunError, match=r"step 2: .*logits that are not numbers.*The last checkpoint is as it was"):
        made.run()
    assert len(rows_of(config)) == 2
