"""Open an engine from its table in `[engine]`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any, cast

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.cache import Cached
from zerosearch.engines.config import EngineConfig, WebConfig
from zerosearch.engines.dense import DenseEngine
from zerosearch.engines.encoders import SentenceTransformerEncoder
from zerosearch.engines.recorded import RecordedEngine
from zerosearch.engines.remote import RemoteEngine
from zerosearch.engines.searxng import SearxngEngine
from zerosearch.engines.serpapi import SerpApiEngine
from zerosearch.engines.serper import SerperEngine
from zerosearch.engines.snippets import Snippets
from zerosearch.engines.web import HttpEngine, HttpOptions
from zerosearch.episodes.search import Document, SearchEngine, SearchPage, SearchRequest, close_connections
from zerosearch.errors import ConfigError
from zerosearch.models.embedded import cache_dir
from zerosearch.models.retry import Retry
from zerosearch.registry import check_call, load

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suppliers:
    """What an engine may need from rooms above this one: the simulator, and the corpus called `factbook`."""

    simulator: Callable[[EngineConfig], SearchEngine]
    factbook: Callable[[], Path]


def open_engine(config: EngineConfig, suppliers: Suppliers) -> SearchEngine:
    """The engine that `config` describes.

    Pages are cached as the engine gave them: snippets are cut from what the cache holds. Raises `ConfigError` or
    `DataError` for what is missing or cannot be used.
    """
    engine = ENGINES[config.kind](config, suppliers) if config.kind in ENGINES else _own(config)
    if config.cache is not None:
        engine = Cached(engine, Path(config.cache).expanduser())
    return Snippets(engine, config.snippet_words) if config.snippet_words else engine


def _dense(config: EngineConfig, suppliers: Suppliers) -> SearchEngine:
    table = config.dense
    assert table.encoder is not None  # the config's own check
    corpus = _corpus(table.corpus, suppliers)
    encoder = SentenceTransformerEncoder(table.encoder, device=table.device, cache=cache_dir() / "dense")
    for name, text in encoder.prompts().items():
        if name in ("query", "document", "passage") and text not in (table.query_prefix, table.passage_prefix):
            said = "engine.dense.encoder %s names the %s prompt %r, which no prefix of the settings is"
            log.warning(said, table.encoder, name, text)
    query, passage = table.query_prefix, table.passage_prefix
    return DenseEngine.open(corpus, encoder, kind=table.index, query_prefix=query, passage_prefix=passage)


def _recorded(config: EngineConfig, suppliers: Suppliers) -> SearchEngine:
    table = config.recorded
    assert table.file is not None  # the config's own check
    path = Path(table.file).expanduser()
    return RecordedEngine.open(path, source=table.source, match=table.match, min_overlap=table.min_overlap)


def _web(engine: type[HttpEngine], config: EngineConfig, suppliers: Suppliers) -> SearchEngine:
    table = cast(WebConfig, getattr(config, config.kind))
    deadline = config.deadline_seconds or 600.0
    return engine(
        HttpOptions(
            url=table.url,
            api_key_env=table.api_key_env,
            price_usd=table.price_usd,
            retry=Retry(attempts=config.attempts, deadline_seconds=config.deadline_seconds),
            # a lost request to the web is better made again, one's own slow retriever is better waited for
            timeout_seconds=deadline if config.kind == "remote" else min(deadline, HttpOptions.timeout_seconds),
            max_connections=table.max_connections,
            requests_per_second=table.requests_per_second,
        )
    )


ENGINES: dict[str, Callable[[EngineConfig, Suppliers], SearchEngine]] = {
    "simulated": lambda config, suppliers: suppliers.simulator(config),
    "bm25": lambda config, suppliers: BM25Engine.open(
        _corpus(config.bm25.corpus, suppliers), k1=config.bm25.k1, b=config.bm25.b
    ),
    "dense": _dense,
    "recorded": _recorded,
    "serpapi": partial(_web, SerpApiEngine),
    "serper": partial(_web, SerperEngine),
    "searxng": partial(_web, SearxngEngine),
    "remote": partial(_web, RemoteEngine),
}


def _own(config: EngineConfig) -> SearchEngine:
    """The user's class, made with `[engine.settings]`. Raises `ConfigError`."""
    made_by = load(config.kind, "engine.kind")
    check_call(made_by, f"engine.settings of {config.kind}", **config.settings)
    engine = made_by(**config.settings)
    for part in ("name", "identity", "search"):
        if not hasattr(engine, part):
            raise ConfigError(f"engine.kind: {config.kind} has no {part}, which a SearchEngine needs (docs/extend.md)")
    return _Own(engine, config.kind)


class _Own:
    """A user's engine, whose pages are looked at before anything reads them."""

    def __init__(self, engine: SearchEngine, kind: str) -> None:
        self.engine, self.kind = engine, kind
        self.name, self.identity = engine.name, engine.identity

    async def search(self, request: SearchRequest) -> SearchPage:
        """Raises what the engine raises, and `ConfigError` for what is no page."""
        searching: Any = self.engine.search(request)
        if not isawaitable(searching):
            raise ConfigError(f"engine.kind: search of {self.kind} is not asynchronous: write `async def search`")
        page = await searching
        if not isinstance(page, SearchPage):
            raise ConfigError(f"engine.kind: search of {self.kind} gave {type(page).__name__}, not a SearchPage")
        for document in page.documents:
            if not isinstance(document, Document):
                other = type(document).__name__
                raise ConfigError(f"engine.kind: a page of {self.kind} holds {other}, not only Documents")
        return page

    async def aclose(self) -> None:
        await close_connections(self.engine)


def _corpus(corpus: str | None, suppliers: Suppliers) -> Path:
    assert corpus is not None  # the config's own check
    return suppliers.factbook() if corpus == "factbook" else Path(corpus).expanduser()
