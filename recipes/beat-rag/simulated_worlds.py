"""The facts of questions, made by the simulator's model: python simulated_worlds.py CONFIG FOLDER [KEY=VALUE ...]

A question for which no facts come out (a bridge that the question does not name, a fact that tells it, a fact with the
answer) is left out: it could not be learned from. Questions that compare have none, and stay. FOLDER/train.jsonl and
warm.jsonl are simulated-train.jsonl and simulated-warm.jsonl there with `bridge` and `facts`; training then makes none
itself. Where FOLDER has hit-rows.jsonl, FOLDER/fact-rows.jsonl has its rows with the facts of their questions. From
these `tune --by passages` learns to tell a plain fact in other words, as the engine's passages do.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from script import arguments, run
from simulated_questions import short_comparison

from zerosearch.config_file import load_config
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.questions import Question, subject
from zerosearch.files.jsonl import write_jsonl
from zerosearch.models.chat import ChatModel
from zerosearch.models.config import ModelRef
from zerosearch.parts import Parts
from zerosearch.simulator.hits import stems
from zerosearch.simulator.worlds import World, Worlds


def second_query(question: Question, world: World) -> str:
    """The bridge, and up to four words of what is asked of it: those that the first fact's subject does not have."""
    named = stems(subject(world.facts[0]) if world.facts else "") | stems(world.bridge)
    asks = [word.strip("?.,\"'") for word in question.text.split() if (own := stems(word)) and not own & named]
    return f"{world.bridge} {' '.join(asks[:4])}"


async def make(questions: list[Question], chat: ChatModel, heat: float) -> list[World]:
    worlds = Worlds()

    async def write(messages: list[Message], max_tokens: int, seed: int) -> str:
        return (await chat.write(messages, Sampling(heat, max_tokens=max_tokens, seed=seed))).text

    return list(await asyncio.gather(*(worlds.of(question, write) for question in questions)))


def askable(row: dict[str, Any]) -> bool:
    """Whether the facts of a recorded page's question can be told: of two hops, those whose bridge the pages name."""
    return row["hops"] == 1 or bool(row.get("bridge"))


def with_facts(rows: list[dict[str, Any]], worlds: dict[str, World]) -> list[dict[str, Any]]:
    """Recorded pages, with the facts of their questions where some were made."""
    return [row | {"facts": list(worlds[row["id"]].facts)} if row["id"] in worlds else row for row in rows]


def main() -> None:
    words = arguments(__doc__, 2, more=True)
    (config_file, folder), settings = map(Path, words[:2]), words[2:]
    config = load_config(config_file, ["model.adapter=none", *settings])
    simulator = config.engine.simulated
    with Parts(config) as parts:
        chat = parts.chat(ModelRef(simulator.model, simulator.adapter))
        for name in ("train", "warm"):
            questions = parts.questions(str(folder / f"simulated-{name}.jsonl"))
            comparing = sum(map(short_comparison, questions))
            started = time.perf_counter()
            worlds = parts.run(make(questions, chat, simulator.temperature))
            seconds = time.perf_counter() - started
            made = [
                replace(q, bridge=w.bridge, facts=w.facts)
                for q, w in zip(questions, worlds, strict=True)
                if w.facts or short_comparison(q)
            ]
            out = folder / f"{name}.jsonl"
            out.write_text("".join(json.dumps(q.as_row(), ensure_ascii=False) + "\n" for q in made), encoding="utf-8")
            asked, had = Counter(q.hops for q in questions), Counter(q.hops for q in made)
            told = ", ".join(f"{had[hops]} of {count} of {hops} hop(s)" for hops, count in sorted(asked.items()))
            print(f"{out}: {told}, {comparing} of them compare, in {seconds:.1f} s", flush=True)
        recorded = folder / "hit-rows.jsonl"
        if recorded.exists():
            rows = [json.loads(line) for line in recorded.read_text(encoding="utf-8").splitlines()]
            asked = list({row["id"]: Question.from_row(row) for row in rows if askable(row)}.values())
            made = parts.run(make(asked, chat, simulator.temperature))
            told = {question.id: world for question, world in zip(asked, made, strict=True) if world.facts}
            out = folder / "fact-rows.jsonl"
            write_jsonl(out, with_facts(rows, told))
            print(f"{out}: facts of {len(told)} of {len(asked)} questions", flush=True)


if __name__ == "__main__":
    run(main)
