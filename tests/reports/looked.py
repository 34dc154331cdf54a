"""Run folders made of real episodes of scripted policies, for the tests of what looks at them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from episodes.rolled import QUESTIONS, always_search, answer_text, page_of, pages_in, roll, search_text

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.search import Quality, SearchPage, SearchRequest
from zerosearch.episodes.trajectory import Trajectory, write_trajectories
from zerosearch.errors import EngineError

__all__ = ["Quality", "always_search", "episodes_of", "write_run"]


def learns(prompt: str, sampling: Sampling) -> str:
    """Searches once, then answers: half of the tries with the last word of the page, half with a guess."""
    if not pages_in(prompt):
        return search_text("capital " + prompt.split("Question: ")[1].split("?")[0])
    right = sampling.seed % 2 == 0
    return answer_text(prompt.split("</information>")[0].split()[-1] if right else "a guess")


def simulated(request: SearchRequest) -> SearchPage:
    """A page as asked for: a noisy one does not hold the answer."""
    page = page_of(request, request.quality)
    if request.quality == Quality.NOISY:
        page = replace(page, documents=(replace(page.documents[0], text="nothing of the kind"),))
    return page


def broken(request: SearchRequest) -> SearchPage:
    raise EngineError("connection", "nobody listens")


def episodes_of(
    codec: Codec, step: int = 0, *, noise: float = 0.5, rollouts: int = 4, **options: Any
) -> list[Trajectory]:
    """24 finished episodes: six questions, four tries each; the reward is F1, log-probs are made up."""
    write, search = options.pop("write", learns), options.pop("search", simulated)
    played = apart(roll, codec, write, search, QUESTIONS, rollouts=rollouts, step=step, noise=noise, **options)
    return [
        replace(t, reward=t.scores.f1, logprobs=tuple(-0.01 * (n % 300) if m else 0.0 for n, m in enumerate(t.mask)))
        for t in played
    ]


def apart(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """`call` in a thread of its own: a browser that is open has an event loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *arguments, **options).result()


def metrics_row(step: int, played: Sequence[Trajectory], **changes: Any) -> dict[str, Any]:
    """A row as the trainer writes it."""
    from zerosearch.learning.metrics import rollout_metrics
    from zerosearch.spending.books import numbers
    from zerosearch.spending.ledger import Ledger

    used = Ledger.of(played)
    row = {
        "step": step, **rollout_metrics(played), "ledger": numbers(used),
        "cost": {"usd": 0.01 * (step + 1), "searches": used.queries * (step + 1)}, "noise": 0.1 * step,
        "sampler_gap": 0.001, "entropy": 0.5 - 0.02 * step, "kl": 0.001 * step, "grad_norm": 0.2, "loss": 0.1,
        "timing": {
            "seconds": 10.0, "rollout_seconds": 7.0, "update_seconds": 3.0, "policy_tokens_per_second": 50.0 + step,
            "search_seconds": 2.0, "simulator_decode_seconds": 1.0,
        },
        "alarms": [],
    }  # fmt: skip
    return row | changes


def write_run(folder: Path, codec: Codec, steps: int = 3, *, seed: int = 0, **changes: Any) -> Path:
    """A run's folder with `steps` steps, as `zerosearch train` leaves it but for its weights. `changes` are of every
    metrics row; `episodes`: what to play a step with; `lr`: a setting."""
    folder.mkdir(parents=True)
    options, rate = changes.pop("episodes", {}), changes.pop("lr", 0.0001)
    (folder / "config.toml").write_text(
        f'name = "{folder.name}"\nfolder = "{folder.parent}"\nseed = {seed}\n[reward]\nname = "f1"\n'
        f"[training]\nsteps = {steps}\nlearning_rate = {rate}\n"
    )
    manifest = {"schema": 1, "device": "cpu", "threads": 2, "engine": "simulated:tiny", "seed": seed}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rows = []
    for step in range(steps):
        played = episodes_of(codec, step, seed=seed, **options)
        write_trajectories(folder / "trajectories" / f"step-{step:06d}.jsonl.zst", played)
        rows.append(metrics_row(step, played, **changes))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_evaluation(run: Path, step: int, played: Sequence[Trajectory]) -> Path:
    """What the trainer writes of an evaluation after `step` steps."""
    from zerosearch.config import TrainConfig
    from zerosearch.episodes.predictions import Header
    from zerosearch.episodes.questions import questions_digest
    from zerosearch.files.jsonl import write_json
    from zerosearch.learning.evaluations import evaluation_record, write_played
    from zerosearch.spending.books import numbers
    from zerosearch.spending.ledger import Ledger

    header = Header(
        "made", "episode", f"tiny of {run.name} after {step} steps", "bm25:x", 3,
        questions_digest([t.question for t in played]), len(played), source=TrainConfig().evaluation.questions,
    )  # fmt: skip
    path = run / "evaluations" / f"step-{step:06d}.jsonl"
    write_played(path, header, played)
    used = Ledger.of(played)
    record = evaluation_record(header, step, played)[1] | {"ledger": numbers(used), "timing": {"search_seconds": 1.0}}
    write_json(path.with_suffix(".json"), record)
    assert asdict(header)["count"] == len(played)
    return path
