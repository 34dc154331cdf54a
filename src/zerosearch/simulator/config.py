"""The part of a configuration that says how a simulator is made: `[label]`, `[tune]` and `[fidelity]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from zerosearch.models.config import ModelRef, Section, ServerConfig


class ChatConfig(ServerConfig):
    """A model that is asked, besides policy and simulator."""

    model: str | None = None
    """Embedded, a folder, a hub id, or its name on the server. none: do not use one."""

    @model_validator(mode="after")
    def _agree(self) -> ChatConfig:
        if self.base_url is not None and self.model is None:
            raise ValueError("base_url is set without model, the name that the server knows the model by")
        return self

    def ref(self) -> ModelRef | None:
        return None if self.model is None else ModelRef(self.model, server=self.server())


class LabelConfig(Section):
    """For `zerosearch label`."""

    snippet_words: int | None = Field(None, ge=1)
    """Cut recorded documents to snippets, as `engine.snippet_words` does."""
    judge: ChatConfig = ChatConfig()
    """The model that decides for each document of a page whether it contains what the query asks for."""


class TuneConfig(Section):
    """For `zerosearch tune`; the base model is `engine.simulated.model`, a page has `engine.top_k` documents."""

    by: Literal["outcome", "judge", "evidence", "rank", "passages", "hits"] = "judge"
    """Which labels to use. rank: pages as returned are useful, documents ranked further down are noisy. passages: learn
    single passages of recorded pages, for style passages. hits: fit a predictor for `engine.simulated.hits` on recorded
    pages instead of tuning a model."""
    start: str | None = None
    """Start from this adapter: a folder, or `embedded:simulator`."""
    full: bool = False
    """Tune all weights, not an adapter."""
    pages: int | None = Field(None, ge=40)
    """Maximal number of pages, half of each class."""
    misdirected: float = Field(0.0, ge=0, le=1)
    """Add this share of useful pages again, under a question that their query does not fit."""
    plan: bool = True
    """Before each page the simulator writes which documents will contain the answer."""
    answer_weight: int = Field(1, ge=1)
    """Weight of the plan, and of golden answers in the page, in the loss. By passages: of what the fact tells."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Number format of the base weights. auto: bfloat16 on a GPU."""
    rank: int = Field(8, ge=1)
    """LoRA rank of a new adapter. Alpha is twice the rank."""
    epochs: float = Field(2.0, ge=0.01)
    learning_rate: float | None = Field(None, gt=0)
    """none: 1e-3 for an adapter, 1e-5 for all weights."""
    batch_size: int = Field(16, ge=1)
    micro_batch_tokens: int = Field(4096, ge=64)
    max_minutes: float | None = Field(None, gt=0)
    """Stop after this time with the best weights. The learning rate then decays with the time."""
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    """high: TF32 on a GPU; medium: also bfloat16 on CPUs with AMX."""

    @model_validator(mode="after")
    def _agree(self) -> TuneConfig:
        if self.full and self.start is not None:
            raise ValueError("full tunes all weights and start names an adapter: choose one")
        if self.full and self.dtype == "float16":
            raise ValueError("full with dtype = 'float16' would lose small updates: choose float32")
        return self


class FidelityConfig(Section):
    """For `zerosearch fidelity`."""

    blind: int = Field(50, ge=0)
    """Number of queries to repeat without the answer in the prompt."""
