"""The part of a configuration that describes a search engine: `[engine]`, its simulator, `[evaluation.engine]`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from zerosearch.errors import ZeroSearchError
from zerosearch.models.adapters import read_card, resolve_adapter
from zerosearch.models.config import UNSET, Address, RequestConfig, Section, Variable


class SimulatorConfig(Section):
    model: str = "smollm2-135m"
    """The simulator's model; where it is the policy's, the two share one set of weights in memory."""
    adapter: str | None = None
    """Its LoRA adapter: a folder, or `embedded:simulator`."""
    base_url: Address | None = None
    """An OpenAI-compatible server (http://host:port/v1) to use instead of a local model."""
    api_key_env: Variable | None = None
    """Name of the environment variable that holds the server's key; the key itself stands in no file."""
    request: RequestConfig = RequestConfig()
    """What the server's requests have besides, or have not."""
    style: Literal["instruct", "tuned"] = "instruct"
    """The prompt: `instruct` for any instruct model, `tuned` for one that was tuned on query-page pairs. That of the
    adapter's `card.json`, where it has one."""
    temperature: float = Field(0.8, ge=0)
    max_tokens: int = Field(600, ge=16)
    rewrites: int = Field(0, ge=0)
    """How many times to rewrite a page that breaks its promise: a noisy page that contains the answer, or a useful page
    without what its plan announces."""
    plan_temperature: float | None = Field(None, ge=0)
    """Temperature for deciding, before a useful page is written, whether it contains the answer. 0: always the likelier
    choice. The decision is kept for the page's rewrites. none: decided with the page. For style tuned."""
    remembers: bool = True
    """Equal queries of a question get one page in a step, whichever rollout asks, as from a real engine; false: every
    search is another draw, as the method was published. That of `[engine]` holds for evaluations too."""
    usd_per_million_prompt_tokens: float = Field(0.0, ge=0)
    """What the server charges, so that costs are counted and `engine.budget_usd` can bound them."""
    usd_per_million_completion_tokens: float = Field(0.0, ge=0)
    """The same for the tokens that it writes."""

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


def _tuned_style(adapter: str) -> str | None:
    """The style that an adapter's card names; None where there is no such card (what is missing is told elsewhere)."""
    try:
        style = read_card(resolve_adapter(adapter)).get("style")
    except (ZeroSearchError, OSError, ValueError, AttributeError):
        return None
    return style if style in ("instruct", "tuned") else None


_HTTP_KINDS = ("serpapi", "serper", "searxng", "remote")
_USED_BY = {
    "corpus": ("bm25", "dense"),
    **dict.fromkeys(("url", "api_key_env", "price_usd", "requests_per_second", "max_connections"), _HTTP_KINDS),
}
"""Settings of an engine that only some kinds look at: set for another kind, they are a mistake. BM25's k1 and b and
the simulator's own section say whose they are, and may stay where `kind` is changed on the command line."""
_SIMULATORS = {"url": "base_url", "api_key_env": "api_key_env"}


_SETTINGS_OF = {
    **dict.fromkeys(("recording", "recording_of", "match", "min_overlap", "on_miss"), "recorded"),
    **dict.fromkeys(("encoder", "encoder_device", "query_prefix", "passage_prefix", "dense_index"), "dense"),
}
"""Engine settings that one kind alone looks at."""


class EngineConfig(Section):
    kind: Literal["simulated", "bm25", "dense", "recorded", "serpapi", "serper", "searxng", "remote"] = "simulated"
    """`simulated`: a language model writes the pages. `bm25`, `dense`: search in a corpus, by words or by embeddings.
    `recorded`: the pages that another engine once gave. `serpapi`, `serper`: Google, for money. `searxng`: your own
    metasearch instance. `remote`: a retriever that speaks Search-R1's `/retrieve`."""
    top_k: int = Field(5, ge=1)
    """Documents a page."""
    corpus: str | None = None
    """For bm25 and dense: a file of passages with id, title, text (.jsonl, .json, .csv, .tsv, .parquet, also .gz), its
    path relative to the folder in which the command is started; or `factbook`."""
    k1: float = Field(0.9, ge=0)
    b: float = Field(0.4, ge=0, le=1)
    snippet_words: int | None = Field(None, ge=5)
    """Not for simulated: show of each document only the sentences that fit the query, about so many words."""
    cache: str | None = None
    """Not for simulated: a file (made where it is missing) that keeps every page, so that no query is asked twice."""
    recording: str | None = None
    """For recorded: a file that `cache` made, or .jsonl(.gz) rows with query and results (title, snippet or text)."""
    recording_of: str | None = None
    """For recorded: the engine to replay, where the file holds pages of several."""
    match: Literal["exact", "nearest"] = "exact"
    """For recorded: a query gets its own page only, or that of the recorded query with most words in common."""
    min_overlap: float = Field(0.5, gt=0, le=1)
    """For recorded, nearest: the smallest share of words in common, rare ones counting for more."""
    on_miss: Literal["empty", "error"] = "empty"
    """For recorded: a query that has no page gets an empty one, or is a failed search. Either way it is counted as a
    miss, and a run in which more than half of 20 or more queries are misses stops."""
    encoder: str | None = None
    """For dense: a sentence-transformers model, a folder or a hub id."""
    encoder_device: str = "auto"
    """For dense: auto, cpu, cuda, cuda:1, mps."""
    query_prefix: str = ""
    """For dense: put before each query; e5 models want `query: `."""
    passage_prefix: str = ""
    """For dense: put before each passage; e5 models want `passage: `."""
    dense_index: Literal["flat", "sq8"] = "flat"
    """For dense: 4 bytes a dimension of each passage, or 1 (8-bit quantised)."""
    url: Address | None = None
    """For searxng and remote, where they listen; serpapi and serper have their public address."""
    api_key_env: Variable | None = None
    """Name of the environment variable that holds the key; none: SERPAPI_API_KEY for serpapi, SERPER_API_KEY for
    serper, no key for searxng and remote."""
    price_usd: float | None = Field(None, ge=0)
    """For engines behind a URL: what a search costs; none: the list price."""
    requests_per_second: float | None = Field(None, gt=0)
    """For engines behind a URL: no more requests than this; further ones wait in line, outside of their deadline."""
    max_connections: int = Field(32, ge=1)
    """For engines behind a URL: searches at once; further ones wait in line, outside of their deadline."""
    simulator: SimulatorConfig = SimulatorConfig()
    attempts: int = Field(3, ge=1)
    """Tries a search, with growing pauses in between."""
    deadline_seconds: float | None = Field(120.0, gt=0)
    """For one search with all its tries. Only for engines and simulators behind a URL; with a simulator, queueing
    counts."""
    max_error_rate: float = Field(0.2, ge=0, le=1)
    """Failed searches, as a share of all, at which the run stops."""
    budget_usd: float | None = Field(None, gt=0)
    """US dollars that all searches of the run may cost, evaluations and steps that were taken back included. Once they
    are spent the run stops with a checkpoint; the same command with a larger budget resumes."""
    budget_searches: int | None = Field(None, ge=1)
    """The same as a number of searches; pages from a cache are free."""

    @model_validator(mode="after")
    def _agree(self) -> EngineConfig:
        if self.kind in ("bm25", "dense") and self.corpus is None:
            raise ValueError(f"engine {self.kind} needs engine.corpus")
        if self.kind == "dense" and self.encoder is None:
            raise ValueError("engine dense needs engine.encoder, such as 'intfloat/e5-base-v2'")
        if self.kind == "recorded" and self.recording is None:
            raise ValueError("engine recorded needs engine.recording")
        if self.kind in ("simulated", "recorded") and self.corpus is not None:
            raise ValueError(f"corpus is set, but a {self.kind} engine has none (kind = 'bm25'?)")
        for name, kind in _SETTINGS_OF.items():
            if self.kind != kind and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is set, but only a {kind} engine uses it (kind = '{kind}'?)")
        if self.min_overlap != type(self).model_fields["min_overlap"].default and self.match != "nearest":
            raise ValueError("min_overlap is set, but only match = 'nearest' uses it")
        if self.cache is not None and self.kind == "simulated":
            raise ValueError(
                "cache is set, but a simulated page depends on question, quality and seed too: only real engines can "
                "be cached"
            )
        if self.cache is not None and self.kind == "recorded":
            raise ValueError("cache is set, but a recorded engine answers from a file already")
        if self.kind == "simulated" and self.snippet_words is not None:
            raise ValueError("snippet_words is set, but a simulated engine writes snippets by itself (kind = 'bm25'?)")
        for name, kinds in _USED_BY.items():
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default:
                hint = f"; engine.simulator has its own {_SIMULATORS[name]}" if name in _SIMULATORS else ""
                raise ValueError(f"{name} is set, but engine {self.kind} does not use it{hint}")
        if self.kind in ("searxng", "remote") and self.url is None:
            example = "http://localhost:8080" if self.kind == "searxng" else "http://localhost:8000/retrieve"
            raise ValueError(f"engine {self.kind} needs engine.url, for example {example}")
        if self.simulator.plan_temperature is not None and self.simulator.style != "tuned":
            raise ValueError("simulator.plan_temperature is set, but only a tuned simulator plans (style = 'tuned'?)")
        if self.simulator.base_url and self.simulator.adapter:
            raise ValueError("simulator.adapter cannot be used with simulator.base_url: load it in the server")
        return self
