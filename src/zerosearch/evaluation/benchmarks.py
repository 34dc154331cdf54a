"""The questions of an evaluation: the seven usual benchmarks, the Factbook, or your own file.

The seven come from the hub collection `RUC-NLPIR/FlashRAG_datasets` (FlashRAG, arXiv 2405.13576), as Search-R1 and
ZeroSearch use them, or from a folder that holds `<name>.jsonl` or, as FlashRAG lays them out, `<name>/<split>.jsonl`.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zerosearch.episodes.questions import Fields, Question, load_questions, questions_digest
from zerosearch.errors import ConfigError, DataError
from zerosearch.factbook import PREFIX, factbook_rows
from zerosearch.files.formats import ENDINGS, KINDS, kind_of, stem_of
from zerosearch.registry import check_call, is_path, load

COLLECTION = "RUC-NLPIR/FlashRAG_datasets"
_SPLITS = ("test", "dev", "validation", "valid", "val", "train")
"""A file that is called so says nothing by its name: its folder's goes before it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A benchmark on the hub: its split that is evaluated, and the number of questions that the collection states."""

    title: str
    split: str
    count: int


SOURCES: dict[str, Source] = {
    "nq": Source("NQ", "test", 3610),  # Kwiatkowski et al. 2019
    "triviaqa": Source("TriviaQA", "test", 11313),  # Joshi et al. 2017
    "popqa": Source("PopQA", "test", 14267),  # Mallen et al. 2023
    "hotpotqa": Source("HotpotQA", "dev", 7405),  # Yang et al. 2018
    "2wikimultihopqa": Source("2WikiMultiHopQA", "dev", 12576),  # Ho et al. 2020
    "musique": Source("MuSiQue", "dev", 2417),  # Trivedi et al. 2022
    "bamboogle": Source("Bamboogle", "test", 125),  # Press et al. 2023
}
"""By the name of the collection's configuration. NQ is the open version (short answers, no passage)."""

_ALIASES = {
    "naturalquestions": "nq",
    "nqopen": "nq",
    "trivia": "triviaqa",
    "tqa": "triviaqa",
    "hotpot": "hotpotqa",
    "2wiki": "2wikimultihopqa",
    "2wikimqa": "2wikimultihopqa",
    "2wikimultihop": "2wikimultihopqa",
}


@dataclass(frozen=True)
class Benchmark:
    """Questions in a fixed order, under a name. `limit` and `sample_seed` are None where all of them are there."""

    name: str
    questions: tuple[Question, ...]
    source: str
    limit: int | None = None
    sample_seed: int | None = None

    @property
    def digest(self) -> str:
        return questions_digest(self.questions)


def title(name: str) -> str:
    """How papers write a benchmark's name."""
    return SOURCES[name].title if name in SOURCES else name


def in_order(names: Iterable[str]) -> list[str]:
    """Benchmarks as papers order them, any others after them by name."""
    known = list(SOURCES)
    return sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name))


def open_benchmark(
    spec: str,
    data: Path | None = None,
    limit: int | None = None,
    sample_seed: int = 0,
    fields: Fields | None = None,
) -> Benchmark:
    """Open the questions that `spec` names: all of them, or `limit` drawn by `sample_seed`.

    `spec` is one of the seven names or an alias (`2wiki`), read from the folder `data` where one is given and from
    the hub otherwise; `factbook:SPLIT[:one-hop|two-hop]`; `hub:NAME[:CONFIG]:SPLIT`; the path of a question file; the
    name of any other file in `data`; or `package.module:Name`, a function of your own that gives questions. Questions
    of the seven have ids like `nq/test_0` from either place. A file is called by its stem; `nq/test.jsonl` is the
    benchmark nq, and `other/test.jsonl` is other-test. `fields` says which fields of a file hold what.

    Raises `ConfigError` for an unknown name or a limit below 1, `DataError` for what cannot be read.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"the limit on questions is {limit}; it must be at least 1")
    name, source, questions = _open(spec.strip(), data, fields)
    if limit is None or limit >= len(questions):
        return Benchmark(name, tuple(questions), source)
    return Benchmark(name, tuple(draw(questions, limit, sample_seed)), source, limit, sample_seed)


def distinct(benchmarks: Sequence[Benchmark]) -> list[Benchmark]:
    """Raises `DataError` where two of them have one name: their predictions would share a file."""
    first: dict[str, Benchmark] = {}
    for benchmark in benchmarks:
        other = first.setdefault(benchmark.name, benchmark)
        if other is not benchmark:
            raise DataError(
                f"{benchmark.source}: is called {benchmark.name!r}, as is {other.source}: evaluate them in different "
                "folders (--out), or rename one"
            )
    return list(benchmarks)


def draw(questions: Sequence[Question], count: int, seed: int) -> list[Question]:
    """A simple random sample of `count` questions in their old order.

    A question's place in the draw is a hash of the seed and its id: the draw depends on nothing else, and a larger
    one contains a smaller one of the same seed.
    """
    lots = sorted(questions, key=lambda question: hashlib.sha256(f"{seed}\x1f{question.id}".encode()).digest())
    chosen = {question.id for question in lots[:count]}
    return [question for question in questions if question.id in chosen]


def canonical(name: str) -> str:
    """The benchmark that a name or an alias stands for, however it is spelled; other names come back as they are."""
    plain = re.sub(r"[\s_-]", "", name.lower())
    plain = _ALIASES.get(plain, plain)
    return plain if plain in SOURCES else name


def benchmark_name(spec: str) -> str:
    """What the questions that `spec` names are called in headers and tables (see `open_benchmark`)."""
    if spec.startswith(PREFIX):
        return spec.replace(":", "-")
    if spec.startswith("hub:"):
        return re.sub(r"[^\w.-]+", "-", spec.removeprefix("hub:"))
    if kind_of(Path(spec)) is not None:
        return _name_of(Path(spec))
    return spec.partition(":")[2] if is_path(spec) else canonical(spec)


def _open(spec: str, data: Path | None, fields: Fields | None) -> tuple[str, str, list[Question]]:
    """Name, source and questions."""
    name = benchmark_name(spec)
    if spec.startswith(PREFIX):
        return name, spec, [q.plain for q in factbook_rows(spec)]
    if spec.startswith("hub:"):
        return name, spec, load_questions(spec, fields=fields)
    if kind_of(Path(spec)) is not None:
        return name, spec, _with_prefix(name, load_questions(spec, fields=fields), of_file=Path(spec))
    if is_path(spec):
        return name, spec, _own(spec)
    if data is not None:
        path = _in_folder(data, spec, name)
        questions = _with_prefix(name, load_questions(str(path), fields=fields))
        return name, str(path.relative_to(data)), questions
    if name not in SOURCES:
        raise ConfigError(
            f"unknown benchmark {spec!r}; known are {', '.join(SOURCES)}, factbook:SPLIT, hub:NAME:SPLIT, "
            f"package.module:Name or the path of a file ({', '.join(KINDS)})"
        )
    known = SOURCES[name]
    source = f"hub:{COLLECTION}:{name}:{known.split}"
    questions = load_questions(source)
    if len(questions) != known.count:
        logger.warning("%s holds %s questions; %s were expected", source, len(questions), known.count)
    return name, source, _with_prefix(name, questions)


def _own(path: str) -> list[Question]:
    """The questions of a function of the user's own. Raises `ConfigError` for what is none, `DataError` for none."""
    function = load(path, "benchmarks")
    check_call(function, f"benchmarks: {path}")
    questions = list(function())
    if not questions:
        raise DataError(f"benchmarks: {path}: gives no questions")
    if odd := next((q for q in questions if not isinstance(q, Question)), None):
        raise ConfigError(f"benchmarks: {path}: gives {type(odd).__name__}, not zerosearch.Question")
    if len({q.id for q in questions}) < len(questions):
        raise DataError(f"benchmarks: {path}: gives two questions of one id")
    return questions


def _name_of(path: Path) -> str:
    """What the questions of a file are called: its stem, after its folder where the stem says nothing."""
    stem = stem_of(path)
    folder = path.expanduser().resolve().parent.name
    if stem.lower() not in _SPLITS or not folder:
        return stem
    known = canonical(folder)
    return known if known in SOURCES and SOURCES[known].split == stem else f"{folder}-{stem}"


def _in_folder(data: Path, spec: str, name: str) -> Path:
    if not data.is_dir():
        raise DataError(f"{data}: no such folder")
    splits = [SOURCES[name].split] if name in SOURCES else _SPLITS
    for stem in dict.fromkeys((name, spec)):
        for place in (stem, *(f"{stem}/{split}" for split in splits)):
            for ending in ENDINGS:
                if "/" not in stem and (path := data / f"{place}{ending}").is_file():
                    return path
    files = [path for path in (*data.glob("*"), *data.glob("*/*")) if kind_of(path) and path.is_file()]
    there = sorted(str(path.relative_to(data).with_name(stem_of(path))) for path in files)
    wanted = f"no {name}.jsonl and no {name}/{splits[0]}.jsonl"
    raise DataError(f"{data}: has {wanted}; it has {', '.join(there[:20]) or 'no question files'}")


def _with_prefix(name: str, questions: list[Question], of_file: Path | None = None) -> list[Question]:
    """Ids that say their benchmark, so that those of several can lie in one place: `test_0` becomes `nq/test_0`."""
    if name not in SOURCES or (of_file is not None and stem_of(of_file) == name):  # ids of one's own file stay
        return questions
    return [q if q.id.startswith(f"{name}/") else replace(q, id=f"{name}/{q.id}") for q in questions]
