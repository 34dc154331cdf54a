"""Every command that writes, as a process of its own over tiny data: what kills and second processes are tried on."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_run import write_config

from zerosearch.episodes.trajectory import read_trajectories, to_dict
from zerosearch.files.jsonl import read_rows
from zerosearch.models.adapters import resolve_adapter
from zerosearch.simulator.collect import list_parts

CHANGES = {
    "name": "run", "folder": None, "evaluation.limit": 4, "evaluation.every": 3, "training.steps": 6,
    "training.learning_rate": 0.01, "training.checkpoint_every": 2,
}  # fmt: skip
PPO = ('--set=algorithm.name="ppo"', "--set=algorithm.kl=loss")
SIMULATED = ("--set=engine.kind=simulated", "--set=engine.simulated.model=model")
SIMULATED += ("--set=engine.simulated.max_tokens=16", "--set=evaluation.engine.kind=bm25")
SIMULATED += ("--set=evaluation.engine.bm25.corpus=corpus.jsonl", "--set=evaluation.transfer_limit=0")
_TIMES = ("seconds", "timing", "ledger", "cost", "search_seconds")


@dataclass(frozen=True)
class Work:
    """A command that writes below `disk/`; `read` gives what must not differ. `resumes`: it goes on after a kill."""

    name: str
    arguments: tuple[str, ...]
    read: Callable[[Path], Any]
    kills: int
    resumes: bool = True


def run_of(place: Path) -> Any:
    import torch

    from zerosearch.run_folder import step_folders

    folder = place / "disk" / "run"
    last = step_folders(folder / "checkpoints")[-1]
    state = torch.load(last.folder / "learner.pt", weights_only=True)
    return {
        "metrics": plain(list(read_rows(folder / "metrics.jsonl"))),
        "evaluations": {p.name: plain(json.loads(p.read_text())) for p in (folder / "evaluations").glob("*.json")},
        "episodes": {
            f"{p.parent.name}/{p.name}": plain([to_dict(t) for t in read_trajectories(p)])
            for p in folder.rglob("*.zst")
        },
        "weights": {key: value.tolist() for key, value in sorted(state["policy"].items())},
        "config": (folder / "config.toml").read_text(),
        "step": last.step,
    }


def predictions_of(place: Path) -> Any:
    return {
        str(p.relative_to(place)): sorted(map(json.dumps, plain(list(read_rows(p)))))
        for p in (place / "disk" / "out").glob("*/*.jsonl")
    }


def episodes_of(place: Path) -> Any:
    return sorted(
        json.dumps(plain(to_dict(t))) for part in list_parts(place / "disk" / "out") for t in read_trajectories(part)
    )


def rows_of(place: Path) -> Any:
    return sorted(map(json.dumps, plain(list(read_rows(place / "disk" / "pages.jsonl")))))


def labels_of(place: Path) -> Any:
    return (place / "disk" / "labels.jsonl").read_bytes()


def adapter_of(place: Path) -> Any:
    folder = resolve_adapter(str(place / "disk" / "tuned"))
    return {name: (folder / name).read_bytes() for name in ("adapter_config.json", "adapter_model.safetensors")}


def plain(value: Any) -> Any:
    """Without clock times, and what is counted by them."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in _TIMES}
    return [plain(item) for item in value] if isinstance(value, list) else value


EVALUATE = (
    "evaluate",
    "config.toml",
    "--out",
    "disk/out",
    "--methods",
    "direct,rag,episode",
    "--benchmarks",
    "questions.jsonl",
)
WORK = [
    Work("record", ("record", "config.toml", "--queries", "questions.jsonl", "--out", "disk/pages.jsonl"), rows_of, 10),
    Work("label", ("label", "config.toml", "--recorded", "traces.jsonl", "--out", "disk/labels.jsonl"), labels_of, 10),
    Work("collect", ("collect", "config.toml", "--out", "disk/out", "--rollouts", "8"), episodes_of, 10),
    Work("evaluate", (*EVALUATE, "--set", "training.max_batch_rows=2"), predictions_of, 10),
    Work("tune", ("tune", "config.toml", "labelled.jsonl", "--by", "evidence",
                  "--set", "engine.simulated.model=model",
                  "--set", "engine.top_k=2", "--set", "tune.rank=2", "--out", "disk/tuned"),
         adapter_of, 10, resumes=False),
    Work("train, REINFORCE, simulated", ("train", "config.toml", "--folder", "disk", *SIMULATED), run_of, 25),
    Work("train, PPO, BM25", ("train", "config.toml", "--folder", "disk", *PPO), run_of, 25),
]  # fmt: skip


def _command(arguments: Sequence[str], place: str, handles: int | None) -> None:
    """What a process does: `zerosearch ARGUMENTS` in the folder `place`, into a log, with at most `handles` files."""
    os.chdir(place)
    os.environ |= {"ZEROSEARCH_CACHE": f"{place}/cache", "HF_HUB_OFFLINE": "1"}
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["zerosearch", *arguments]
    from zerosearch.cli import main

    if handles is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (handles, handles))

    main()


def make_base(place: Path, *, model: bool) -> Path:
    """Data, and a tiny model."""
    passages = [
        ("Nepal", "Kathmandu is the capital of Nepal."),
        ("Nepal: Hills", "Nepal has hills."),
        ("Peru", "Lima."),
    ]
    rows = [{"id": str(n), "title": title, "text": text} for n, (title, text) in enumerate(passages)]
    lines(place / "corpus.jsonl", rows)
    asked = [
        {"id": f"q{n}", "question": f"Nepal {n}?", "golden_answers": ["Kathmandu" if n % 2 else "Lima"]}
        for n in range(60 if model else 8)
    ]
    lines(place / "questions.jsonl", asked)
    lines(
        place / "traces.jsonl",
        [{**row, "query": "nepal", "engine": "bm25", "results": passages_of(row)} for row in asked * 5],
    )
    write_config(place / "config.toml", CHANGES, folder=".")
    (place / "disk").mkdir()
    if model:
        from tiny import save_chain, tiny_tokenizer

        save_chain(tiny_tokenizer(), "\n<search>nepal</search>", place / "model")
    return place


def passages_of(row: dict[str, Any]) -> list[dict[str, str]]:
    """A page that holds the answer of every other question."""
    return [{"title": "Nepal", "text": f"Kathmandu {row['id']}"}, {"title": "Hills", "text": "many"}]


def lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_context(*, model: bool) -> Any:
    """Processes that begin with everything imported."""
    found = multiprocessing.get_context("forkserver")
    modules = ["faults.work", "zerosearch.cli", "zerosearch.simulator.record", "zerosearch.parts"]
    if model:
        modules += ["zerosearch.learning.run", "zerosearch.evaluation.entrants", "zerosearch.simulator.pairs"]
    found.set_forkserver_preload(modules)
    return found


def left_over(place: Path) -> list[str]:
    """Hidden files where the command writes, and in the cache."""
    return [str(p.relative_to(place)) for folder in ("disk", "cache") for p in (place / folder).glob("**/.*")]


def begin(context: Any, work: Work, place: Path, handles: int | None = None) -> Any:
    process = context.Process(target=_command, args=(work.arguments, str(place), handles))
    process.start()
    return process


def finish(context: Any, work: Work, place: Path) -> float:
    started = time.perf_counter()
    process = begin(context, work, place)
    process.join(240)
    assert process.exitcode == 0, (place / "log.txt").read_text()[-3000:]
    found = left_over(place)
    assert found == [], found  # nothing rewrites the asserts of this module
    return time.perf_counter() - started


def clear(place: Path) -> None:
    """Take away what the command wrote, what it said, and the cache."""
    (place / "log.txt").unlink(missing_ok=True)
    shutil.rmtree(place / "cache", ignore_errors=True)
    for path in (place / "disk").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def names(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.glob("disk/**/*"))


LABELLED = Work(
    "labels",
    ("label", "config.toml", "--recorded", "traces.jsonl", "--out", "labelled.jsonl", "--set", "engine.top_k=1"),
    labels_of,
    0,
)
