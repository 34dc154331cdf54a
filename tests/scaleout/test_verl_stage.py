"""verl's agent loop without verl: the same sampled ids give the trajectories of our own rollout, token by token."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from zerosearch.config import TrainConfig
from zerosearch.config_file import config_from_dict
from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, roll_out
from zerosearch.episodes.trajectory import Trajectory, tries
from zerosearch.errors import RunError
from zerosearch.files.jsonl import write_jsonl
from zerosearch.models.local import LocalModel
from zerosearch.parts import Parts
from zerosearch.playing import rollout_settings
from zerosearch.scaleout.verl.stage import Asked, ServedPolicy, Stage, output_fields

QUESTIONS = [
    Question("q1", "What is the capital of Nepal?", ("Kathmandu",)),
    Question("q2", "What is the capital of Peru?", ("Lima",)),
]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    monkeypatch.setenv("ZEROSEARCH_CACHE", str(tmp_path / "cache"))
    rows = [
        {"id": "np", "title": "Nepal", "text": "Kathmandu is the capital of Nepal."},
        {"id": "pe", "title": "Peru", "text": "Lima is the capital of Peru."},
    ]
    write_jsonl(tmp_path / "corpus.jsonl", rows)
    engine = {"kind": "bm25", "top_k": 2, "bm25": {"corpus": str(tmp_path / "corpus.jsonl")}}
    protocol = {"max_searches": 2, "max_turn_tokens": 60, "max_context_tokens": 900}
    return config_from_dict({"engine": engine, "protocol": protocol, "reward": {"format": 0.1}}, "test")


@dataclass
class Said:
    token_ids: list[int]
    log_probs: list[float] | None
    extra_fields: dict[str, Any] = field(default_factory=lambda: {"global_steps": 4})


@dataclass
class Author:
    """Writes a search, nonsense, an answer; the same after the same prompt, as verl's server and as our generator."""

    tokenizer: Any
    asked: list[tuple[list[int], dict[str, Any]]] = field(default_factory=list)
    logprobs: bool = True

    def written(self, prompt_ids: list[int], most: int) -> list[int]:
        text = self.tokenizer.decode(prompt_ids).split("Question:")[-1]
        place = "Nepal" if "Nepal" in text else "Peru"
        turns = [
            f"<think>?</think><search> capital of {place} </search>",
            "no tags here<|im_end|>",
            "<think>x</think><answer> Kathmandu </answer>.",
        ]
        ids = self.tokenizer.encode(turns[min(self.turn(text), 2)])
        return list(ids)[:most]

    def turn(self, text: str) -> int:
        return text.count("</information>") + text.count("no tags here")

    async def generate(self, request_id: Any, sampling: Any = None, **told: Any) -> Any:
        if told:  # verl's way
            self.asked.append((told["prompt_ids"], told["sampling_params"]))
            ids = self.written(told["prompt_ids"], told["sampling_params"]["max_tokens"])
            return Said(ids, [-0.25 * n for n in range(len(ids))] if self.logprobs else None)
        ids = self.written(request_id, sampling.max_tokens)
        return Generation(ids, [-0.25 * n for n in range(len(ids))], "eos" if ids[-1] == 2 else "stop")


def ours(config: TrainConfig, model: LocalModel, author: Author) -> list[Trajectory]:
    settings = rollout_settings(config, model, temperature=1.0, top_k=config.engine.top_k)
    with Parts(config) as parts:
        engine = parts.engine("train", metered=False)
        return parts.run(roll_out(tries(QUESTIONS, 2, step=3), author, engine, settings, ErrorRate()))


def theirs(config: TrainConfig, tokenizer: Any, author: Author, rollouts: int = 2) -> list[Trajectory]:
    async def play() -> list[Trajectory]:
        stage = Stage(config, tokenizer)
        try:
            return await asyncio.gather(
                *(
                    stage.play(
                        Asked(question, 3, rollout),
                        ServedPolicy(author, {"temperature": 1.0}, stage.codec, stage.eos_ids),
                    )
                    for question in QUESTIONS
                    for rollout in range(rollouts)
                )
            )
        finally:
            await stage.aclose()

    return asyncio.run(play())


def bare(trajectory: Trajectory) -> Trajectory:
    """Without what differs between two runs of one experiment: times, and the place in a batch."""
    searches = tuple(replace(s, seconds=0.0) for s in trajectory.searches)
    return replace(trajectory, seconds=0.0, searches=searches, group=0)


def test_the_same_sampled_ids_give_the_same_trajectories(config: TrainConfig, tiny_model: LocalModel) -> None:
    tokenizer = tiny_model.tokenizer
    expected = ours(config, tiny_model, Author(tokenizer))
    played = theirs(config, tokenizer, Author(tokenizer))
    assert [bare(t) for t in played] == [bare(t) for t in expected]
    assert [t.answer for t in played] == ["Kathmandu"] * 4  # and they are episodes worth comparing
    assert all(len(t.searches) == 1 and len(t.turns) == 3 for t in played)
    assert [t.scores.em for t in played] == [1.0, 1.0, 0.0, 0.0]


def test_verl_is_given_sampled_ids_and_a_mask_of_the_policys_own(config: TrainConfig, tiny_model: LocalModel) -> None:
    for trajectory in theirs(config, tiny_model.tokenizer, Author(tiny_model.tokenizer)):
        fields = output_fields(trajectory, filler=2)
        assert (*fields["prompt_ids"], *fields["response_ids"]) == trajectory.ids
        lengths = {len(fields[name]) for name in ("response_ids", "response_mask", "response_logprobs")}
        assert lengths == {len(fields["response_ids"])}
        own = [i for i, m in zip(fields["response_ids"], fields["response_mask"], strict=True) if m]
        assert own == [i for turn in trajectory.turns for i in trajectory.ids[turn.start : turn.end]]
        assert 0 in fields["response_mask"]
        assert fields["reward_score"] == trajectory.reward


def test_the_server_is_asked_to_stop_at_tags_and_to_keep_them(config: TrainConfig, tiny_model: LocalModel) -> None:
    author = Author(tiny_model.tokenizer)
    theirs(config, tiny_model.tokenizer, author, rollouts=1)
    for _, params in author.asked:
        assert params["include_stop_str_in_output"] is True
        assert "</search>" in params["stop"]
        assert params["temperature"] == 1.0
        assert 0 < params["max_tokens"] <= 60


def test_a_server_without_log_probs_ends_the_episode(config: TrainConfig, tiny_model: LocalModel) -> None:
    with pytest.raises(RunError, match="calculate_log_probs"):
        theirs(config, tiny_model.tokenizer, Author(tiny_model.tokenizer, logprobs=False))


def test_an_episode_whose_engine_failed_is_not_learned(config: TrainConfig, tiny_model: LocalModel) -> None:
    (first, *_) = theirs(config, tiny_model.tokenizer, Author(tiny_model.tokenizer))
    failed = output_fields(replace(first, stop_reason="engine_error"), filler=2)
    assert set(failed["response_mask"]) == {0}
    nothing = replace(first, ids=first.ids[: first.prompt_length], mask=first.mask[: first.prompt_length])
    assert output_fields(nothing, filler=2)["response_ids"] == [2]


def test_the_curriculum_goes_by_verls_step(tiny_tokenizer: Any) -> None:
    simulated = {"kind": "simulated", "simulated": {"base_url": "http://h/v1"}}
    curriculum = {"kind": "linear", "start": 0.0, "end": 1.0}
    config = config_from_dict({"engine": simulated, "curriculum": curriculum, "training": {"steps": 10}}, "test")
    stage = Stage(config, tiny_tokenizer)
    assert [stage.noise(step) for step in (0, 5)] == [0.0, 0.5]
    assert stage.noise(None) == 0.0  # a validation asks for useful pages


def test_what_ended_a_turn(tiny_tokenizer: Any) -> None:
    stage = Stage(TrainConfig(), tiny_tokenizer)
    policy = ServedPolicy(None, {}, stage.codec, stage.eos_ids)  # type: ignore[arg-type]
    sampling = Sampling(max_tokens=4, stop=("</search>",))
    encode = tiny_tokenizer.encode
    assert policy._stop(encode("a<|im_end|>"), sampling) == "eos"
    assert policy._stop(encode("abcdefgh")[:4], replace(sampling, max_tokens=4)) == "length"
    assert policy._stop(encode("a</search>"), replace(sampling, max_tokens=len(encode("a</search>")))) == "stop"
    assert policy._stop(encode("a"), sampling) == "eos"  # an end-of-text id of the generation config, or a short answer
