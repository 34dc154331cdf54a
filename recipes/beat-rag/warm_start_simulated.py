"""A warm start on simulated pages: python warm_start_simulated.py CONFIG WORLDS.jsonl OUT [SECONDS] [KEY=VALUE ...]

The simulator of CONFIG plays the engine. One search where its page for the whole question has the answer; where that
names the bridge, a second one asks for it. Only episodes whose last page has the answer are learned. No real page.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import torch
from simulated_worlds import second_query

from recipes.embedded.scripted import Script, encode_script, held_answer
from zerosearch.config_file import load_config
from zerosearch.episodes.examples import Example
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, SearchEngine, SearchRequest, holds_answer
from zerosearch.episodes.seeds import derive_seed
from zerosearch.errors import EngineError
from zerosearch.learning.policy import POLICY, Policy
from zerosearch.learning.sft import SFTSettings, train_sft
from zerosearch.models.local import LocalModel
from zerosearch.parts import Parts
from zerosearch.playing import rollout_settings
from zerosearch.simulator.worlds import World

MICRO_BATCH_TOKENS = 8192


async def script(question: Question, engine: SearchEngine, top_k: int) -> Script | str:
    """The episode of a question, or why there is none."""

    async def find(query: str) -> tuple[Document, ...]:
        seed = derive_seed("warm", question.id, query)
        return (await engine.search(SearchRequest(query, top_k, question, seed=seed))).documents

    try:
        page = await find(question.text)
        turns, pages = [f"<search> {question.text} </search>"], [page]
        if not holds_answer(page, question.golden_answers):
            if not question.bridge or not holds_answer(page, [question.bridge]):
                return "no bridge"
            second = second_query(question, World(question.bridge, question.facts))
            page = await find(second)
            turns.append(f"<search> {second} </search>")
            pages.append(page)
    except EngineError:
        return "no page"
    answer = held_answer(question.golden_answers, page)
    if answer is None:
        return "no answer"
    return Script(question, (*turns, f"<answer> {answer} </answer>"), tuple(pages))


async def play(questions: list[Question], engine: SearchEngine, top_k: int) -> list[Script | str]:
    return list(await asyncio.gather(*(script(question, engine, top_k) for question in questions)))


def main() -> None:
    config_file, worlds, out = map(Path, sys.argv[1:4])
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else None
    config = load_config(config_file, ["model.adapter=none", *sys.argv[5:]])
    torch.manual_seed(config.seed)
    assert config.model.lora is not None
    with Parts(config) as parts:
        questions = parts.questions(str(worlds))
        played = parts.run(play(questions, parts.engine("train", metered=False), config.engine.top_k))
    model = LocalModel.load(config.model.name)
    settings = rollout_settings(config, model, temperature=1.0, top_k=config.engine.top_k)
    examples: list[Example] = []
    made: Counter[str] = Counter()
    for episode in played:
        encoded = (
            None
            if isinstance(episode, str)
            else encode_script(episode, settings.prompt, settings.codec, settings.limits)
        )
        if isinstance(episode, str) or encoded is None:
            made[episode if isinstance(episode, str) else "no room"] += 1
            continue
        examples.append(Example(*encoded, key=episode.question.id))
        made[f"{len(episode.pages)} searches"] += 1
    print(dict(made))
    lora = config.model.lora
    model.add_adapter(POLICY, None, rank=lora.rank, alpha=lora.alpha, trainable=True)
    trainee = Policy(model)
    sft = SFTSettings(
        epochs=1.0, batch_size=32, learning_rate=1e-4, micro_batch_tokens=MICRO_BATCH_TOKENS, evaluations=3,
        max_seconds=seconds,
    )  # fmt: skip
    result = train_sft(trainee, examples, sft, print)
    trainee.save(out, card={"command": " ".join(sys.argv), "examples": dict(made), "result": asdict(result)})
    print(result)


if __name__ == "__main__":
    main()
