"""A warm start on simulated pages: python warm_start_simulated.py CONFIG WORLDS.jsonl OUT [SECONDS] [KEY=VALUE ...]

The simulator of CONFIG plays the engine. One search where its page for the whole question has the answer; where that
names the bridge, a second one asks for it. Only episodes whose last page has the answer are learned. No real page.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import torch
from script import arguments, at_least, run
from simulated_worlds import second_query
from warm_start import learn

from recipes.embedded.scripted import Script, held_answer
from zerosearch.config_file import load_config
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, SearchEngine, SearchRequest, holds_answer
from zerosearch.episodes.seeds import derive_seed
from zerosearch.errors import EngineError
from zerosearch.parts import Parts
from zerosearch.simulator.worlds import World


async def script(question: Question, engine: SearchEngine, top_k: int) -> Script | str:
    """The episode of a question, or why there is none."""

    async def find(query: str) -> tuple[Document, ...]:
        seed = derive_seed("warm", question.id, query)
        return (await engine.search(SearchRequest(query, top_k, question, seed=seed))).documents

    try:
        page = await find(question.text)
        turns, pages = [f"<search> {question.text} </search>"], [page]
        if question.compares:  # answered from what the page states, or by a guess
            return Script(question, (*turns, f"<answer> {question.golden_answers[0]} </answer>"), tuple(pages))
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
    words = arguments(__doc__, 3, more=True)
    config_file, worlds, out = map(Path, words[:3])
    seconds = at_least(1.0, "SECONDS: ")(words[3]) if len(words) > 3 else None
    config = load_config(config_file, ["model.adapter=none", *words[4:]])
    torch.manual_seed(config.seed)
    with Parts(config) as parts:
        questions = parts.questions(str(worlds))
        played = parts.run(play(questions, parts.engine("train", metered=False), config.engine.top_k))
    learn(config, (("", episode) for episode in played), out, seconds)


if __name__ == "__main__":
    run(main)
