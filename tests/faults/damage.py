"""Ways to damage a file, and a place that holds one of each kind of file that zerosearch reads."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import zstandard
from small_run import write_config

CHANGES = {
    "name": "run", "evaluation.limit": 1, "training.steps": 2, "training.questions_per_step": 1,
    "training.checkpoint_every": 1,
}  # fmt: skip
TEXTS = ("", "null", "7", "[1]", '"x"', "{}", "\0" * 300, "\ufeff{}", "{" + '"a": ' + "9" * 6_000 + "}", "[" * 200_000)
VALUES: tuple[Any, ...] = (None, 7, -1, 10**400, 1e300, "x", "", [], [1], {}, {"a": 1}, True)


def damages(path: Path, chance: random.Random) -> list[tuple[str, Callable[[], None]]]:
    """What can be done to the file, each with its name; `chance` picks places and values."""
    data = path.read_bytes()

    def written(new: bytes) -> Callable[[], None]:
        return lambda: path.write_bytes(new) and None

    def flipped() -> bytes:
        place = chance.randrange(max(1, len(data)))
        return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :] if data else b"\xff"

    def folder() -> None:
        path.unlink()
        path.mkdir()

    def loop() -> None:
        path.unlink()
        path.symlink_to(path.name)

    made = [(f"text {text[:8]!r}", written(text.encode())) for text in TEXTS]
    made += [
        ("cut", written(data[: chance.randrange(len(data) + 1)])),
        ("end cut", written(data[:-1])),
        ("noise", written(chance.randbytes(300))),
        ("not UTF-8", written(b"\xff\xfe" + data)),
        ("line of zeros", written(data + b"\0" * 50 + b"\n")),
        ("flip", written(flipped())),
        ("flip", written(flipped())),
        ("flip", written(flipped())),
        ("missing", path.unlink),
        ("folder", folder),
        ("loop", loop),
    ]
    for _ in range(4):
        if (new := _other_value(path, data, chance)) is not None:
            made.append(("another value", written(new)))
    return made


def _other_value(path: Path, data: bytes, chance: random.Random) -> bytes | None:
    """The same JSON with one value changed for one of another kind, or taken out; None where it is no JSON."""
    packed = path.name.endswith(".zst")
    try:
        text = (zstandard.ZstdDecompressor().decompress(data, 1 << 26) if packed else data).decode()
        rows = [json.loads(text)] if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    except (ValueError, zstandard.ZstdError):
        return None
    if not rows:
        return None
    row = chance.randrange(len(rows))
    places = list(_places(rows[row]))
    holder, key = chance.choice(places)
    if isinstance(holder, dict) and chance.random() < 0.25:
        del holder[key]
    else:
        holder[key] = chance.choice(VALUES)
    new = json.dumps(rows[0]) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    return zstandard.compress(new.encode()) if packed else new.encode()


def _places(value: Any) -> Sequence[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found.append((value, key))
        found += _places(item)
    return found


def restore(path: Path, data: bytes) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink():
        path.unlink()
    path.write_bytes(data)


def make_place(place: Path, run: Callable[..., Any]) -> None:
    """Everything that zerosearch writes, made by `run("command", ...)` with a tiny model."""
    from tiny import save_chain, tiny_tokenizer

    save_chain(tiny_tokenizer(), "\n<search>nepal</search>", place / "model")
    passages = [
        ("Nepal", "Kathmandu is the capital of Nepal."),
        ("Nepal: Hills", "Nepal has hills."),
        ("Peru", "Lima."),
    ]
    rows = [{"id": str(n), "title": title, "text": text} for n, (title, text) in enumerate(passages)]
    _lines(place / "corpus.jsonl", rows)
    asked = [
        {"id": f"q{n}", "question": f"Nepal {n}?", "golden_answers": ["Kathmandu" if n % 2 else "Lima"]}
        for n in range(44)
    ]
    _lines(place / "questions.jsonl", asked)
    _lines(place / "few.jsonl", asked[:3])
    config = write_config(place / "config.toml", CHANGES)
    few = f"--questions={place / 'few.jsonl'}"
    run("train", str(config))
    run("collect", str(config), "--out", str(place / "pages"), few)
    run("record", str(config), "--queries", str(place / "questions.jsonl"), "--out", str(place / "recorded.jsonl"))
    run("label", str(config), str(place / "pages"))
    out = ("--out", str(place / "labels.jsonl"), "--set", "engine.top_k=1")
    run("label", str(config), "--recorded", str(place / "recorded.jsonl"), *out)
    run("evaluate", str(config), "--out", str(place / "evaluation"), "--methods", "direct,rag")
    run(*tune(place))


def tune(place: Path) -> tuple[str, ...]:
    """Tuning for a step."""
    settings = (f"engine.simulated.model={place / 'model'}", "engine.top_k=1", "tune.epochs=0.01", "tune.rank=2")
    options = [word for setting in settings for word in ("--set", setting)]
    files = (str(place / "config.toml"), str(place / "labels.jsonl"))
    return ("tune", *files, "--by", "evidence", "--out", str(place / "tuned"), *options)


def _lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
