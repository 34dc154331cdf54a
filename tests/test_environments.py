"""`play`: this package's episodes with a model that another trainer trains."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from fakes import FakeEngine
from learning.toy import changed
from tiny import chain_model

from zerosearch import Document, EngineError, Question, SearchPage, play
from zerosearch.episodes.search import Quality
from zerosearch.errors import RunError

NEPAL, PERU = (Question(name, f"Capital of {name}?", ("x",)) for name in ("Nepal", "Peru"))
CONFIG: dict[str, Any] = {
    "protocol": {"max_searches": 1, "max_turn_tokens": 12, "max_page_tokens": 40, "max_context_tokens": 400},
    "curriculum": {"start": 0.1, "end": 0.9, "kind": "linear"},
    "training": {"steps": 10},
}


def searching(tokenizer: Any) -> Any:
    """A model that searches for nepal in every turn, as another trainer holds it: training, with gradients."""
    ids = tokenizer.encode("\n<search>nepal</search>", add_special_tokens=False)
    base = chain_model(tokenizer, dict(pairwise(ids))).base
    return base.requires_grad_(True).train()


def test_episodes_come_in_order_and_what_is_given_is_what_the_model_says(tiny_tokenizer: Any) -> None:
    page = SearchPage((Document("Nepal", "Kathmandu."),), "simulated:x")
    engine = FakeEngine(lambda request: replace(page, quality=request.quality), name="simulated:x")
    model = searching(tiny_tokenizer)
    played = play([NEPAL, PERU, NEPAL], model, tiny_tokenizer, engine, changed(CONFIG), step=5)
    assert [t.question for t in played] == [NEPAL, PERU, NEPAL]
    assert [(t.group, t.rollout) for t in played] == [(0, 0), (1, 0), (0, 1)]
    assert {search.noise for t in played for search in t.searches} == {0.5}
    assert len(engine.requests) == 2  # equal queries of a question get one page
    assert model.training
    for trajectory in played:
        with torch.no_grad():
            said = torch.log_softmax(model.eval()(torch.tensor([trajectory.ids])).logits[0], -1)
        own = [i for i, bit in enumerate(trajectory.mask) if bit]
        assert own
        assert min(own) >= trajectory.prompt_length
        assert [trajectory.logprobs[i] for i in own] == pytest.approx(
            [float(said[i - 1, trajectory.ids[i]]) for i in own], abs=1e-4
        )


def test_a_real_engine_has_no_noise(tiny_tokenizer: Any) -> None:
    engine = FakeEngine((Document("Nepal", "Kathmandu."),), name="bm25:x")
    config = changed(CONFIG | {"curriculum": {"kind": "fixed", "start": 1.0}})
    (played,) = play([NEPAL], searching(tiny_tokenizer), tiny_tokenizer, engine, config, step=9)
    assert [search.noise for search in played.searches] == [None]
    assert {request.quality for request in engine.requests} == {Quality.USEFUL}


def test_an_outage_ends_the_step_and_leaves_the_model_as_it_was(tiny_tokenizer: Any) -> None:
    model, engine = searching(tiny_tokenizer), FakeEngine(EngineError("http", "down"), name="simulated:x")
    questions = [Question(str(i), f"Number {i}?", ("x",)) for i in range(8)]
    with pytest.raises(RunError, match="searches failed"):
        play(questions, model, tiny_tokenizer, engine, changed(CONFIG))
    assert model.training
