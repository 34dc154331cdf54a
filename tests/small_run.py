"""One small configuration for every test of a command: a run of seconds over the files of its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SETTINGS: Mapping[str, Any] = {
    "name": "small",
    "folder": "{folder}/runs",
    "data.train": "{folder}/questions.jsonl",
    "model.name": "{folder}/model",
    "model.device": "cpu",
    "protocol.max_searches": 1,
    "protocol.max_turn_tokens": 12,
    "protocol.max_page_tokens": 24,
    "protocol.max_context_tokens": 400,
    "engine.kind": "bm25",
    "engine.top_k": 2,
    "engine.bm25.corpus": "{folder}/corpus.jsonl",
    "evaluation.questions": "{folder}/questions.jsonl",
    "training.steps": 1,
    "training.questions_per_step": 2,
    "training.rollouts": 2,
    "logging.tensorboard": False,
}
# The engine is a simulator, by default a local one; what is evaluated searches in the corpus.
SIMULATED: Mapping[str, Any] = {
    "engine.kind": "simulated",
    "engine.bm25.corpus": None,
    "engine.simulated.max_tokens": 16,
    "evaluation.engine.kind": "bm25",
    "evaluation.engine.top_k": 2,
    "evaluation.engine.bm25.corpus": "{folder}/corpus.jsonl",
}


def write_config(path: Path, *changes: Mapping[str, Any], folder: Path | str | None = None) -> Path:
    """`SETTINGS` with `changes`, of which None takes a setting out. `{folder}` is the folder of `path` or the given."""
    values: dict[str, Any] = {}
    for given in (SETTINGS, *changes):
        values |= given
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items() if value is not None]
    path.write_text("".join(lines).replace("{folder}", str(path.parent if folder is None else folder)))
    return path
