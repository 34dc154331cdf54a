"""A warm start by scripts: python recipes/beat-rag/warm_start.py CONFIG WARM.jsonl OUT [SECONDS]

One search where the page of the whole question holds the answer; two where it only names what the second one is about.
The second query is the one that `prepare_two_hop.py` found (or the Factbook knows), the pages are those of the
configuration's engine, and the answer is the golden one as the page has it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from script import arguments, at_least, run

from recipes.embedded.scripted import Find, Script, encode_script, held_answer
from zerosearch.config import TrainConfig
from zerosearch.config_file import load_config
from zerosearch.engines.bm25 import BM25Engine
from zerosearch.episodes.examples import Example
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document
from zerosearch.learning.policy import POLICY, Policy
from zerosearch.learning.sft import SFTSettings, train_sft
from zerosearch.models.local import LocalModel
from zerosearch.playing import rollout_settings

MICRO_BATCH_TOKENS = 8192  # 16384 take 81 GB with this vocabulary


def script(row: dict[str, Any], find: Find) -> Script | str:
    """The episode of a row, or why there is none."""
    question = Question(row["id"], row["question"], tuple(row["golden_answers"]))
    query = question.text
    page = find(query)
    country = row.get("country")
    if country and held_answer([country], page) is None:
        query = row["queries"][0]
        page = find(query)
    turns, pages = [f"<search> {query} </search>"], [page]
    if row["kind"] != "hit" and held_answer(question.golden_answers, page) is None:
        if country and held_answer([country], page) is None:
            return "no country"
        second = (row["queries"][1] if country else row["second"]).rstrip(".")
        page = find(second)
        turns.append(f"<search> {second} </search>")
        pages.append(page)
    answer = held_answer(question.golden_answers, page)
    if answer is None:
        return "no answer"
    return Script(question, (*turns, f"<answer> {answer} </answer>"), tuple(pages))


def learn(config: TrainConfig, played: Iterable[tuple[str, Script | str]], out: Path, seconds: float | None) -> None:
    """Tune a new adapter on episodes, each with what it is counted as; instead of an episode, why there is none."""
    assert config.model.lora is not None
    model = LocalModel.load(config.model.name)
    settings = rollout_settings(config, model, temperature=1.0, top_k=config.engine.top_k)
    examples: list[Example] = []
    made: Counter[str] = Counter()
    for kind, episode in played:
        if isinstance(episode, str):
            made[episode] += 1
            continue
        encoded = encode_script(episode, settings.prompt, settings.codec, settings.limits)
        if encoded is None:
            made["no room"] += 1
            continue
        examples.append(Example(*encoded, key=episode.question.id))
        made[f"{kind}{len(episode.pages)} searches"] += 1
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


def main() -> None:
    words = arguments(__doc__, 3, more=True)
    config_file, warm, out = map(Path, words[:3])
    seconds = at_least(1.0, "SECONDS: ")(words[3]) if len(words) > 3 else None
    config = load_config(config_file, ["model.adapter=none"])
    torch.manual_seed(config.seed)
    assert config.engine.bm25.corpus is not None
    engine = BM25Engine.open(Path(config.engine.bm25.corpus))
    rows = map(json.loads, warm.read_text(encoding="utf-8").splitlines())

    def find(query: str) -> tuple[Document, ...]:
        return engine.search_many([query], config.engine.top_k)[0]

    learn(config, ((f"{row['kind']}, ", script(row, find)) for row in rows), out, seconds)


if __name__ == "__main__":
    run(main)
