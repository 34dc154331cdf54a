"""The part of a configuration that describes a search engine: `[engine]` and one table for each kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from zerosearch.errors import ZeroSearchError
from zerosearch.models.adapters import read_card, resolve_adapter
from zerosearch.models.config import FREE, UNSET, Address, Names, Section, Server, ServerConfig, Variable


class SimulatedConfig(ServerConfig):
    """A language model writes the pages."""

    base_url: Address | Annotated[list[Address], Field(min_length=1)] | None = Field(  # type: ignore[assignment]
        None, json_schema_extra=FREE
    )
    """An OpenAI-compatible server (http://host:port/v1) to use instead of a local model, or a list of servers of the
    same model. The least busy one is used, and a server that fails is skipped. See scale.md."""
    model: str = "smollm2-135m"
    """The simulator's model: embedded, a folder, a hub id, or its name on the server. If it is also the policy's model,
    both share one set of weights in memory."""
    adapter: str | None = None
    """Its LoRA adapter: a folder, or `embedded:simulator`."""
    style: Literal["instruct", "tuned", "passages"] = "instruct"
    """The prompt: `instruct` for any instruct model, `tuned` for a model tuned on pages, `passages` for a model tuned
    on single passages (with `hits`). The default is the style in the adapter's `card.json`, if there is one."""
    temperature: float = Field(0.8, ge=0)
    """Sampling temperature of the pages."""
    max_tokens: int = Field(600, ge=16)
    """Maximal tokens of a page (style passages: of a passage)."""
    rewrites: int = Field(0, ge=0)
    """How many times to rewrite a page that breaks its promise: a noisy page that contains the answer, or a useful page
    without what its plan announces. Style passages: a passage without its fact, all times at once."""
    plan_temperature: float | None = Field(None, ge=0)
    """Temperature for deciding, before a useful page is written, whether it contains the answer. 0: always the likelier
    choice. The decision is kept for the page's rewrites. none: decided with the page. For style tuned."""
    hits: str | None = None
    """Decide whether a page contains the answer as the imitated engine would, not by what the model writes: a predictor
    that `tune --by hits` made (a file), or `default`. none: the model decides."""
    words: int = Field(30, ge=5)
    """Words a document. For style instruct."""
    remembers: bool = True
    """Give equal queries of a question the same page in a step, whichever rollout asks, as a real engine does. false: a
    new page for each search, as in the published method. The value in `[engine]` is used for evaluations too."""

    @property
    def local_model(self) -> str | None:
        """The model that writes the pages here; None: it is behind a URL."""
        return self.model if self.base_url is None else None

    def servers(self, *, timeout_seconds: float = 600.0) -> list[Server]:
        """One for each address; none: the model is a local one. Of several each may be silent half of the time."""
        urls = [self.base_url] if isinstance(self.base_url, str) else list(self.base_url or ())
        silence = timeout_seconds / 2 if len(urls) > 1 else timeout_seconds
        one = self.server(timeout_seconds=silence)
        return [] if one is None else [replace(one, base_url=url) for url in urls]

    @model_validator(mode="before")
    @classmethod
    def _style_of_the_adapter(cls, values: Any) -> Any:
        """A tuned adapter is asked as it was tuned: by default, and else it is a mistake."""
        adapter = values.get("adapter") if isinstance(values, dict) else None
        theirs = _tuned_style(adapter) if isinstance(adapter, str) and adapter != UNSET else None
        if theirs is None:
            return values
        if values.get("style", theirs) != theirs:
            raise ValueError(f"style is {values['style']!r}, but {adapter} was tuned with {theirs!r} (leave style out)")
        return {**values, "style": theirs}

    @model_validator(mode="after")
    def _agree(self) -> SimulatedConfig:
        if self.plan_temperature is not None and self.style != "tuned":
            raise ValueError("plan_temperature is set, but only a tuned simulator plans (style = 'tuned'?)")
        if self.plan_temperature is not None and self.hits is not None:
            raise ValueError("plan_temperature is set, but with hits the predictor decides what a page contains")
        if self.style == "passages" and self.hits is None:
            raise ValueError("style is 'passages', but what a passage states is decided with hits (hits = 'default'?)")
        return self


def _tuned_style(adapter: str) -> str | None:
    """The style that an adapter's card names; None where there is no such card (what is missing is told elsewhere)."""
    try:
        style = read_card(resolve_adapter(adapter)).get("style")
    except (ZeroSearchError, OSError, ValueError, AttributeError):
        return None
    return style if style in ("instruct", "tuned", "passages") else None


def _needed(example: str) -> Any:
    """A setting that its kind cannot do without; `example` is a value in TOML."""
    return Field(None, json_schema_extra={"needed": example})


class BM25Config(Section):
    """Search in a corpus by words."""

    corpus: str | None = _needed('"factbook"')
    """A file of passages with id, title, text (.jsonl, .json, .csv, .tsv, .parquet, also .gz; relative to the folder in
    which the command is started), or `factbook`."""
    k1: float = Field(0.9, ge=0)
    b: float = Field(0.4, ge=0, le=1)


class DenseConfig(Section):
    """Search in a corpus by embeddings."""

    corpus: str | None = _needed('"factbook"')
    """Like the corpus of bm25."""
    encoder: str | None = _needed('"intfloat/e5-base-v2"')
    """A sentence-transformers model, a folder or a hub id."""
    device: str = "auto"
    """Device of the encoder: auto, cpu, cuda, cuda:1, mps."""
    query_prefix: str = ""
    """Text before each query. e5 models need `query: `."""
    passage_prefix: str = ""
    """Text before each passage. e5 models need `passage: `."""
    index: Literal["flat", "sq8"] = "flat"
    """Memory for each dimension of a passage: flat 4 bytes, sq8 1 byte (8-bit quantised)."""


class RecordedConfig(Section):
    """Replays pages that another engine returned earlier. A query without a page gets an empty one and counts as a
    miss. The run stops if more than half of 20 or more queries are misses."""

    file: str | None = _needed('"pages.sqlite"')
    """A file that `engine.cache` made, or .jsonl(.gz) rows with query and results (title, snippet or text)."""
    source: str | None = None
    """The engine to replay, if the file contains pages of several."""
    match: Literal["exact", "nearest"] = "exact"
    """exact: only the page of the same query. nearest: the page of the recorded query with the most words in common."""
    min_overlap: float = Field(0.5, gt=0, le=1)
    """nearest: the smallest share of common words, weighted so that rare words count more."""

    @model_validator(mode="after")
    def _agree(self) -> RecordedConfig:
        if self.min_overlap != type(self).model_fields["min_overlap"].default and self.match != "nearest":
            raise ValueError("min_overlap is set, but only match = 'nearest' uses it")
        return self


class WebConfig(Section):
    """An engine behind a URL."""

    url: Address | None = None
    """Address to use instead of the public one."""
    api_key_env: Variable | None = Field(None, json_schema_extra=FREE)
    """Name of the environment variable that contains the key. none: SERPAPI_API_KEY for serpapi, SERPER_API_KEY for
    serper, no key for searxng and remote."""
    price_usd: float | None = Field(None, ge=0, json_schema_extra=FREE)
    """Price of a search. none: the list price."""
    requests_per_second: float | None = Field(None, gt=0, json_schema_extra=FREE)
    """Maximal request rate. Waiting does not count towards the deadline."""
    max_connections: int = Field(32, ge=1, json_schema_extra=FREE)
    """Maximal number of searches at once. Waiting does not count towards the deadline."""


class SearxngConfig(WebConfig):
    """Your own metasearch instance."""

    url: Address | None = _needed('"http://localhost:8080"')
    """Where it listens."""


class RemoteConfig(WebConfig):
    """A retriever that speaks Search-R1's `/retrieve`."""

    url: Address | None = _needed('"http://localhost:8000/retrieve"')
    """Where it listens."""


KINDS = ("simulated", "bm25", "dense", "recorded", "serpapi", "serper", "searxng", "remote")
"""The engines that come with the package; each has a table of its name."""


class EngineConfig(Section):
    kind: Annotated[str, Names(KINDS)] = "simulated"
    """`simulated`: a language model writes the pages. `bm25`, `dense`: search in a corpus, by words or by embeddings.
    `recorded`: replays pages of another engine. `serpapi`, `serper`: Google, paid. `searxng`: your own metasearch
    instance. `remote`: a retriever that speaks Search-R1's `/retrieve`. `package.module:Name`: your own class
    (extend.md). Each kind has a table; the tables of other kinds are not used."""
    top_k: int = Field(5, ge=1)
    """Number of documents on a page."""
    snippet_words: int | None = Field(None, ge=5)
    """Cut each document to the sentences that fit the query, about this number of words. Not for simulated."""
    cache: str | None = None
    """A file that keeps every page, so that no query is paid for twice. Not for simulated and recorded."""
    attempts: int = Field(3, ge=1, json_schema_extra=FREE)
    """Maximal number of tries for a search, with growing pauses. For engines and simulators behind a URL."""
    deadline_seconds: float | None = Field(120.0, gt=0, json_schema_extra=FREE)
    """Time limit for one search, retries included. Only for engines and simulators behind a URL. For a simulator,
    waiting in the server's queue counts."""
    max_error_rate: float = Field(0.2, ge=0, le=1, json_schema_extra=FREE)
    """Stop the run if a larger share of searches fails."""
    budget_usd: float | None = Field(None, gt=0, json_schema_extra=FREE)
    """Budget in US dollars for all searches of the run, including evaluations and repeated steps. When it is spent, the
    run stops with a checkpoint. The same command with a larger budget resumes."""
    budget_searches: int | None = Field(None, ge=1, json_schema_extra=FREE)
    """Budget as a number of searches. Pages from a cache are free."""
    settings: dict[str, Any] = Field({})
    """Keyword arguments for your own class of `kind = "package.module:Name"`."""
    simulated: SimulatedConfig = SimulatedConfig()
    bm25: BM25Config = BM25Config()
    dense: DenseConfig = DenseConfig()
    recorded: RecordedConfig = RecordedConfig()
    serpapi: WebConfig = WebConfig()
    serper: WebConfig = WebConfig()
    searxng: SearxngConfig = SearxngConfig()
    remote: RemoteConfig = RemoteConfig()

    @model_validator(mode="after")
    def _agree(self) -> EngineConfig:
        table = getattr(self, self.kind, None)
        for name, field in type(table).model_fields.items() if isinstance(table, Section) else ():
            extra = field.json_schema_extra
            if isinstance(extra, dict) and "needed" in extra and getattr(table, name) is None:
                raise ValueError(f"kind {self.kind} needs {self.kind}.{name}, such as {extra['needed']}")
        if self.cache is not None and self.kind == "simulated":
            raise ValueError(
                "cache is set, but a simulated page depends on question, quality and seed too: only real engines can "
                "be cached"
            )
        if self.cache is not None and self.kind == "recorded":
            raise ValueError("cache is set, but a recorded engine answers from a file already")
        if self.snippet_words is not None and self.kind == "simulated":
            raise ValueError("snippet_words is set, but a simulated engine writes snippets by itself (kind = 'bm25'?)")
        return self

    def used(self) -> Iterator[str]:
        """Without the tables of other kinds, and without `settings` where the class is none of one's own."""
        for name in type(self).model_fields:
            own = self.kind not in KINDS if name == "settings" else name == self.kind
            if own or name not in (*KINDS, "settings"):
                yield name
