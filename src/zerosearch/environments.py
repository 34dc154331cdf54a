"""Episodes of this package's protocol for another trainer: played with its model, given as what is trained on.

    play(questions, model, tokenizer, engine, config, step=3)

`tool_episode.py` is for trainers whose models search by tool calls; `docs/environments.md` has an example a trainer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from zerosearch.api import Engine
from zerosearch.config import TrainConfig
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, roll_out
from zerosearch.episodes.search import SearchEngine
from zerosearch.episodes.trajectory import Trajectory, Try
from zerosearch.playing import rollout_settings
from zerosearch.process.loops import Loop


def play(
    questions: Sequence[Question],
    model: Any,
    tokenizer: Any,
    engine: SearchEngine,
    config: TrainConfig,
    *,
    step: int = 0,
) -> list[Trajectory]:
    """One episode a question, in order, sampled from `model`, a transformers model that another trainer trains.

    A repeated question is played as several rollouts, whose equal queries get one page. Protocol, reward, curriculum
    (at `step` of `training.steps`), seed and sampling come from `config`. The model's weights are used in place, and
    its mode (train or eval) is restored. A trajectory has `ids`, `mask` (1 on the model's own tokens) and `logprobs`,
    all of one length, and `prompt_length`; `valid` is False where a search failed.

    Raises `RunError` where searches fail beyond `engine.max_error_rate`, `ModelError`
    for a model that gives no numbers.
    """
    from zerosearch.models.local import LocalModel
    from zerosearch.models.worker import TransformersGenerator, Worker

    simulated = engine.name.startswith("simulated:")
    noise = config.curriculum.build().noise(step, config.training.steps) if simulated else None
    local = LocalModel(model, tokenizer, type(model).__name__, next(model.parameters()).device)
    settings = rollout_settings(config, local, temperature=config.training.temperature, top_k=config.engine.top_k)
    worker = Worker(local, config.training.max_batch_rows, config.training.max_batch_tokens)
    training = model.training
    model.eval()
    try:
        errors = ErrorRate(config.engine.max_error_rate)
        work = roll_out(_tries(questions, step, noise), TransformersGenerator(worker), engine, settings, errors)
        if isinstance(engine, Engine):
            return engine.run(work)
        with Loop() as loop:
            return loop.run(work)
    finally:
        model.train(training)
        worker.close()


def _tries(questions: Sequence[Question], step: int, noise: float | None) -> list[Try]:
    """The tries at a question are numbered in the order in which they stand, wherever that is."""
    groups: dict[str, int] = {}
    rollouts: Counter[str] = Counter()
    asked = []
    for question in questions:
        group = groups.setdefault(question.id, len(groups))
        asked.append(Try(question, step, group, rollouts[question.id], noise=noise))
        rollouts[question.id] += 1
    return asked
