"""The part of a configuration that says how a simulator is made: `[label]`, `[tune]` and `[fidelity]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from zerosearch.models.config import ModelRef, Section, ServerConfig


class ChatConfig(ServerConfig):
    """A model that is asked, besides policy and simulator."""

    model: str | None = None
    """Embedded, a folder, a hub id, or the name that the server knows it by; none: nobody is asked."""

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
    """Who says whether a page holds what its query asks for."""


class TuneConfig(Section):
    """For `zerosearch tune`; the base model is `engine.simulated.model`, a page has `engine.top_k` documents."""

    by: Literal["outcome", "judge", "evidence", "rank", "passages", "hits"] = "judge"
    """Whose labels count; rank: pages as returned are useful, what is ranked behind is noisy; passages: single passages
    of recorded pages, for style passages; hits: instead of a model a predictor for `engine.simulated.hits` is fitted,
    on recorded pages."""
    start: str | None = None
    """Go on from this adapter: a folder, or `embedded:simulator`."""
    full: bool = False
    """Tune all weights, not an adapter."""
    pages: int | None = Field(None, ge=40)
    """At most this number of pages, half of each class."""
    misdirected: float = Field(0.0, ge=0, le=1)
    """Useful pages put under a question that their query does not fit, as a share."""
    plan: bool = True
    """Before its page the simulator notes which documents will hold the answer."""
    answer_weight: int = Field(1, ge=1)
    """How often the plan, and golden answers in the page, count in the loss."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Of the base weights; auto: bfloat16 on a GPU."""
    rank: int = Field(8, ge=1)
    """LoRA rank of a new adapter; alpha is twice as much."""
    epochs: float = Field(2.0, ge=0.01)
    learning_rate: float | None = Field(None, gt=0)
    """none: 1e-3 for an adapter, 1e-5 for all weights."""
    batch_size: int = Field(16, ge=1)
    micro_batch_tokens: int = Field(4096, ge=64)
    max_minutes: float | None = Field(None, gt=0)
    """Stop after this time with the best weights; the learning rate falls with the clock."""
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
    """Queries to ask once more without the answer in the prompt."""
    reader: ChatConfig = ChatConfig()
    """Who answers the question from each page alone."""
