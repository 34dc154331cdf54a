"""Continuous sampling: rows of policy and simulator decode side by side, and a finished row is replaced at once.

A page of a simulated engine is written while other episodes still think, and nobody waits for the longest row. Prompts
that begin alike share their beginning (`Pages`), so an episode's next turn prefills the new page only. A GPU decodes
`BLOCK` tokens a row between two looks of the host; what a row sampled beyond its end is cut off.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch

from zerosearch.episodes.generation import Generation, GenerationStop, Sampling
from zerosearch.models.decode_steps import PROMPT_TOKENS, PROMPTS, DecodeSteps, Feed, Sampled
from zerosearch.models.paged import PagedMemory, Reading, cache_argument
from zerosearch.models.pages import PAGE, SCRATCH, Pages
from zerosearch.models.phases import phase
from zerosearch.models.sampling import StopStrings, draw, uniform

Speaker = str | None
"""An adapter's name; None is the bare base model."""
BLOCK = 8
_PREFILL_TOKENS = 8192


@dataclass(eq=False)
class Row:
    """One request: `ids` so far with their log-probs, and the pages of its whole text."""

    speaker: Speaker
    prompt: list[int]
    sampling: Sampling
    tell: Callable[[int], None] | None = None
    """Told of each token; what it raises ends the row."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    end: GenerationStop | Exception | None = None
    pages: list[int] = field(default_factory=list)
    filled: int = 0
    """Tokens of the text whose keys and values are in the pages."""
    _uniforms: list[float] = field(default_factory=list)

    def uniforms(self, number: int) -> list[float]:
        """The random numbers of the next `number` tokens."""
        start = len(self.ids)
        while len(self._uniforms) < start + number:
            self._uniforms.append(uniform(self.sampling.seed, len(self._uniforms)))
        return self._uniforms[start : start + number]

    def take(self, token: int, logprob: float, eos_ids: frozenset[int], stops: StopStrings) -> None:
        if not math.isfinite(logprob):
            self.end = FloatingPointError(f"token {len(self.ids) + 1}: its log-prob is {logprob}")
            return
        self.ids.append(token)
        self.logprobs.append(logprob)
        if token in eos_ids:
            self.end = "eos"
        elif stops.completed(self.ids):
            self.end = "stop"
        elif len(self.ids) >= self.sampling.max_tokens:
            self.end = "length"
        if self.tell is not None:
            try:
                self.tell(token)
            except Exception as error:
                self.end = error

    @property
    def generation(self) -> Generation:
        """Raises what ended the row, where that was an error."""
        assert self.end is not None
        if isinstance(self.end, Exception):
            raise self.end
        return Generation(self.ids, self.logprobs, self.end)


class ContinuousSampler:
    """Decodes at most `max_rows` rows a speaker, and as many in all as `memory` has room for.

    `speak(speaker)` gives the model that speaks as it, for the time of a forward pass; its weights may change between
    two passes, their addresses may not (`forget` says that they did). `record`: as CUDA graphs.
    """

    def __init__(
        self,
        memory: PagedMemory,
        speak: Callable[[Speaker], AbstractContextManager[Any]],
        stops: Callable[[tuple[str, ...]], StopStrings],
        eos_ids: frozenset[int],
        *,
        max_rows: int,
        record: bool,
    ) -> None:
        self._speak, self._stops, self._eos_ids = speak, stops, eos_ids
        self._max_rows, self._block, self._record = max_rows, BLOCK if record else 1, record
        self._pages, self._memory = Pages(memory.pages), memory
        self._steps = DecodeSteps(self._memory, speak, block=self._block, record=record)
        self._waiting: dict[Speaker, deque[Row]] = {}
        self._rows: dict[Speaker, list[Row]] = {}
        self._running: dict[Speaker, list[tuple[list[Row], Sampled]]] = {}
        self._dropped: set[Row] = set()
        self.decoded: Counter[Speaker] = Counter()

    @property
    def busy(self) -> bool:
        return any(self._waiting.values()) or any(self._rows.values())

    def fits(self, row: Row) -> bool:
        """Whether the row can be decoded here: the cache has room for it, and it draws from all tokens."""
        return self._need(row) < self._pages.number and row.sampling.top_k == 0 and row.sampling.top_p == 1.0

    def add(self, row: Row) -> None:
        """For a row that `fits`."""
        self._waiting.setdefault(row.speaker, deque()).append(row)

    def drop(self, row: Row) -> None:
        """Nobody waits for it any more: it ends at the next `advance`, which does not return it."""
        if row in self._waiting.get(row.speaker, ()):
            self._waiting[row.speaker].remove(row)
        else:
            self._dropped.add(row)

    def fail(self, error: Exception) -> list[Row]:
        """End every row with `error`."""
        return [row for speaker in {**self._rows, **self._waiting} for row in self._fail(speaker, error)]

    def forget(self) -> None:
        """Begin no text with what was computed before. Nothing is being decoded."""
        self._pages.forget()

    @torch.inference_mode()
    def advance(self) -> list[Row]:
        """Take the tokens that are there, let waiting rows in, set every row to decode on; return the rows that ended.

        One speaker after the other: a GPU decodes for one while the tokens of the other are taken.
        """
        ended = []
        for speaker in {**self._rows, **self._waiting}:
            try:
                ended += self._advance(speaker)
            except Exception as error:
                ended += self._fail(speaker, error)
        return ended

    @phase("scheduling")
    def _advance(self, speaker: Speaker) -> list[Row]:
        for going, fetch in self._running.pop(speaker, ()):
            self._take(going, *fetch())
        ended = self._leave(speaker)
        rows = list(self._rows.get(speaker, ()))
        if rows:
            self._running[speaker] = [(rows, self._launch(speaker, rows))]
        if self._waiting.get(speaker):
            self._running.setdefault(speaker, []).extend(self._admit(speaker))
        for row in rows:
            row.uniforms(2 * self._block)  # those of the next block, while a GPU works at this one
        return ended

    def _fail(self, speaker: Speaker, error: Exception) -> list[Row]:
        """End every row of `speaker` with `error`."""
        self._running.pop(speaker, None)
        failed = [row for row in self._rows.get(speaker, ()) if row not in self._dropped]
        failed += self._waiting.pop(speaker, ())
        for row in failed:
            row.end = error
        return [*self._leave(speaker), *(row for row in failed if not row.pages)]

    # ---- prompts

    def _need(self, row: Row) -> int:
        return -(-(len(row.prompt) + row.sampling.max_tokens + self._block) // PAGE)

    def _admit(self, speaker: Speaker) -> list[tuple[list[Row], Sampled]]:
        """Fill the prompts of waiting rows, in waves: a row waits for one that computes what it can then begin with."""
        launched = []
        while wave := self._wave(speaker):
            self._rows.setdefault(speaker, []).extend(wave)
            launched += self._fill(speaker, wave) if self._record else self._fill_padded(speaker, wave)
            for row in wave:
                row.filled = len(row.prompt) - 1
                self._pages.keep(speaker, row.prompt, row.pages)
        return launched

    def _wave(self, speaker: Speaker) -> list[Row]:
        waiting, wave, later = self._waiting[speaker], list[Row](), list[Row]()
        room = self._max_rows - len(self._rows.get(speaker, ()))
        computing: set[tuple[int, ...]] = set()
        while waiting and len(wave) < room:
            row = waiting.popleft()
            kept = self._pages.match(speaker, row.prompt[:-1])  # the last token gives the logits
            begins = tuple(row.prompt[: (len(kept) + 1) * PAGE])
            full = len(begins) == (len(kept) + 1) * PAGE
            if full and begins in computing:
                self._pages.release(kept)
                later.append(row)
                continue
            more = self._need(row) - len(kept)
            if more > self._pages.available:
                self._pages.release(kept)
                later.append(row)
                break
            row.pages, row.filled = kept + self._pages.take(more), len(kept) * PAGE
            if full:
                computing.add(begins)
            wave.append(row)
        waiting.extendleft(reversed(later))
        return wave

    def _fill(self, speaker: Speaker, rows: list[Row]) -> list[tuple[list[Row], Sampled]]:
        """Lay the prompts end to end and run steps over them, each of as many tokens as it can hold."""
        launched = []
        pages: list[Sequence[int]] = [row.pages[: len(row.prompt) // PAGE + 1] for row in rows]
        tokens = [(text, place) for text, row in enumerate(rows) for place in range(row.filled, len(row.prompt))]
        while tokens:
            ends = [i for i, (text, at) in enumerate(tokens[:PROMPT_TOKENS]) if at == len(rows[text].prompt) - 1]
            size = PROMPT_TOKENS if len(ends) <= PROMPTS else ends[PROMPTS]
            part, tokens, ends = tokens[:size], tokens[size:], ends[:PROMPTS]
            ended = [rows[part[i][0]] for i in ends]
            feed = Feed(
                ids=[rows[text].prompt[at] for text, at in part],
                positions=[at for _, at in part],
                pages=pages,
                temperatures=[row.sampling.temperature for row in ended],
                uniforms=[[row.uniforms(1)[0] for row in ended]],
                texts=[text for text, _ in part],
                ends=ends,
            )
            launched.append((ended, self._steps.launch(speaker, feed)))
        return launched

    def _fill_padded(self, speaker: Speaker, rows: list[Row]) -> list[tuple[list[Row], Sampled]]:
        return [(batch, self._run_padded(speaker, batch)) for batch in _batches(rows)]

    def _run_padded(self, speaker: Speaker, rows: list[Row]) -> Sampled:
        """One forward pass over rows of like length, padded on the left: the last column is a token of every row."""
        device = self._memory.layout.device
        new = [row.prompt[row.filled :] for row in rows]
        longest, width = max(map(len, new)), max(-(-len(row.prompt) // PAGE) for row in rows)
        pads = torch.tensor([longest - len(ids) for ids in new]).unsqueeze(1)
        ids = torch.tensor([[0] * (longest - len(ids)) + ids for ids in new])
        padded = torch.arange(longest) < pads
        starts = torch.tensor([row.filled for row in rows]).unsqueeze(1)
        positions = (torch.arange(longest) + starts - pads).masked_fill(padded, 0)
        tables = torch.tensor([_table(row.pages, width) for row in rows])
        places = (tables.gather(1, positions // PAGE) * PAGE + positions % PAGE).masked_fill(padded, SCRATCH)
        reading = Reading(tables.to(device), positions.to(device), places.flatten().to(device))
        what = phase(f"prefill, {speaker or 'base'}", gpu=True)
        with self._speak(speaker) as model, self._memory.reading(model, reading), what:
            logits = model(
                input_ids=ids.to(device),
                attention_mask=torch.zeros(1, 1, 1, 1, dtype=self._memory.layout.dtype, device=device),
                position_ids=reading.positions,
                use_cache=True,
                logits_to_keep=1,
                **{cache_argument(model): self._memory},
            ).logits[:, -1]
        temperatures = torch.tensor([row.sampling.temperature for row in rows], device=device)
        uniforms = torch.tensor([row.uniforms(1)[0] for row in rows], dtype=torch.float64, device=device)
        tokens, logprobs = draw(logits, temperatures, uniforms)
        return lambda: ([tokens.tolist()], [logprobs.tolist()])

    # ---- tokens

    def _launch(self, speaker: Speaker, rows: list[Row]) -> Sampled:
        """Decode the next block."""
        positions = [row.filled for row in rows]
        feed = Feed(
            ids=[row.ids[-1] for row in rows],
            positions=positions,
            pages=[row.pages[: (p + self._block - 1) // PAGE + 1] for row, p in zip(rows, positions, strict=True)],
            temperatures=[row.sampling.temperature for row in rows],
            uniforms=list(map(list, zip(*(row.uniforms(self._block) for row in rows), strict=True))),
        )
        return self._steps.launch(speaker, feed)

    @phase("taking tokens")
    def _take(self, rows: list[Row], tokens: list[list[int]], logprobs: list[list[float]]) -> None:
        for place, row in enumerate(rows):
            stops = self._stops(row.sampling.stop)
            for step_tokens, step_logprobs in zip(tokens, logprobs, strict=True):
                if row.end is not None:
                    break
                row.filled += 1
                self.decoded[row.speaker] += 1
                row.take(step_tokens[place], step_logprobs[place], self._eos_ids, stops)

    def _leave(self, speaker: Speaker) -> list[Row]:
        """Let the rows that ended or were dropped go."""
        rows = self._rows.get(speaker, [])
        left = [row for row in rows if row.end is not None or row in self._dropped]
        if left:
            self._rows[speaker] = [row for row in rows if row.end is None and row not in self._dropped]
        for row in left:
            if not isinstance(row.end, Exception):
                self._pages.keep(speaker, (row.prompt + row.ids)[: row.filled], row.pages)
            self._pages.release(row.pages)
        ended = [row for row in left if row not in self._dropped]
        self._dropped.difference_update(left)
        return ended


def _table(pages: Sequence[int], width: int) -> list[int]:
    return [*pages[:width], *[SCRATCH] * (width - len(pages))]


def _batches(rows: list[Row]) -> Iterator[list[Row]]:
    """Rows of like length together, at most `_PREFILL_TOKENS` padded tokens."""
    batch: list[Row] = []
    for row in sorted(rows, key=lambda row: len(row.prompt) - row.filled, reverse=True):
        longest = len(batch[0].prompt) - batch[0].filled if batch else 0
        if batch and longest * (len(batch) + 1) > _PREFILL_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    yield batch
