"""An episode: one question being answered, turn by turn, in token space. A pure state machine: no I/O, no torch.

    episode = Episode(question, prompt_ids, codec, limits)
    while not isinstance(step := episode.next(), Done):
        if isinstance(step, Generate): episode.feed_generation(...)   # sampled ids and log-probs, kept as they are
        else:                          episode.feed_page(...)         # encoded once, mask 0

`ids`, `mask` and `logprobs` have one length at every moment. `mask` is 1 exactly where the policy sampled the token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from zerosearch.episodes.generation import Generation
from zerosearch.episodes.protocol import (
    INVALID_TURN_NOTE,
    LAST_TURN_NOTE,
    STOP_STRINGS,
    Action,
    neutralize,
    parse_turn,
    render_document,
)
from zerosearch.episodes.questions import Question
from zerosearch.episodes.replies import opens_thought, stop_end
from zerosearch.episodes.search import Document

_TAIL = 32  # ids of a prompt that tell whether it ends by opening a thought

StopReason = Literal["answer", "no_answer", "refused_search", "context", "engine_error"]


@dataclass(frozen=True)
class Codec:
    """Text to ids and back. `encode` adds no special tokens; `decode` leaves nothing out and tidies nothing up.

    `harmless` takes tags and control tokens out of a text from elsewhere, where the tokenizer knows better than
    `neutralize` what it will make of it.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    special_tokens: tuple[str, ...] = ()
    harmless: Callable[[str], str] | None = None

    def clean(self, text: str) -> str:
        """A page's or a question's text, unable to speak the protocol or the chat template."""
        return self.harmless(text) if self.harmless else neutralize(text, self.special_tokens)


@dataclass(frozen=True)
class EpisodeLimits:
    """Bounds of an episode; lengths in tokens.

    `max_searches` searches, then one turn that can only answer. A turn that is neither a search nor an answer uses up
    one of the turns and, where `retry_invalid`, is told so; otherwise it ends the episode.
    """

    max_searches: int = 5
    max_turn_tokens: int = 500
    max_page_tokens: int = 500
    max_context_tokens: int = 4096
    answer_reserve_tokens: int = 32
    retry_invalid: bool = True


@dataclass(frozen=True)
class Generate:
    """The policy writes next: at most `max_tokens` after `prompt_ids`. `last` is the turn that cannot search.

    `piece` is 0 at a turn's beginning, and counts on where one that was stopped at a tag in its thought goes on.
    """

    prompt_ids: list[int]
    max_tokens: int
    last: bool
    piece: int = 0


@dataclass(frozen=True)
class Search:
    """The engine is asked next. `index` counts the searches of this episode from 0."""

    query: str
    index: int


@dataclass(frozen=True)
class Done:
    stop_reason: StopReason


@dataclass(frozen=True)
class Turn:
    """One policy segment: `ids[start:end]`, what it says and what it does; all of its pieces, see `Generate`.

    `opened`: it begins inside of a thought that the prompt has opened.
    """

    start: int
    end: int
    text: str
    action: Action
    stop_reason: str
    last: bool
    opened: bool = False


_Step = TypeVar("_Step", Generate, Search)


class Episode:
    """See the module's text. Raises `RuntimeError` when it is fed something that `next()` did not ask for."""

    def __init__(self, question: Question, prompt_ids: Sequence[int], codec: Codec, limits: EpisodeLimits) -> None:
        self.question, self.codec, self.limits = question, codec, limits
        self.prompt_length = len(prompt_ids)
        self.ids: list[int] = list(prompt_ids)
        self.mask: list[int] = [0] * len(prompt_ids)
        self.logprobs: list[float] = [0.0] * len(prompt_ids)
        self.turns: list[Turn] = []
        self.answer: str | None = None
        self.searches = 0  # asked of the engine so far
        self._turn_start = 0
        self._opened = opens_thought(codec.decode(self.ids[-_TAIL:]))
        self._step: Generate | Search | Done = self._generate()

    def next(self) -> Generate | Search | Done:
        """What the episode needs now. Calling it again changes nothing."""
        return self._step

    @property
    def mid_turn(self) -> bool:
        """Whether a turn has begun and is not finished: it was stopped at a tag that it only thinks of."""
        return isinstance(self._step, Generate) and self._step.piece > 0

    @property
    def well_formed(self) -> bool:
        """Every turn a thought and one action, the last of them an answer."""
        return self.answer is not None and all(turn.action.well_formed for turn in self.turns)

    def feed_generation(self, generation: Generation) -> None:
        """Take the ids that were sampled, with the log-probs they were sampled with."""
        step = self._expect(Generate)
        ids, logprobs = list(generation.token_ids), list(generation.logprobs)
        if len(ids) != len(logprobs):
            raise RuntimeError(f"{len(ids)} sampled ids came with {len(logprobs)} log-probs")
        if len(ids) > step.max_tokens:
            raise RuntimeError(f"{len(ids)} ids were sampled where {step.max_tokens} were allowed")
        start = len(self.ids) if step.piece == 0 else self._turn_start
        self._append(ids, 1, logprobs)
        text = self.codec.decode(self.ids[start:])
        opened = self._opened and not self.turns
        if generation.stop_reason == "stop" and self._goes_on(step, text, start, opened):
            return
        action = parse_turn(text, opened=opened)
        self.turns.append(Turn(start, len(self.ids), text, action, generation.stop_reason, step.last, opened))
        if action.kind == "answer":
            self.answer = action.text
            self._step = Done("answer")
        elif step.last:
            self._step = Done("refused_search" if action.kind == "search" else "no_answer")
        elif action.kind == "search":
            self._step = Search(action.text, self.searches)
            self.searches += 1
        elif not self.limits.retry_invalid:
            self._step = Done("no_answer")
        else:
            self._observe(INVALID_TURN_NOTE)

    def feed_page(self, documents: Sequence[Document]) -> None:
        """Take a result page. What is too long loses documents, then text, never a tag."""
        self._expect(Search)
        encode = self.codec.encode
        head, foot = encode("\n<information>\n"), encode("</information>\n")
        note = encode(LAST_TURN_NOTE)
        room = self._room() - len(head) - len(foot) - self.limits.answer_reserve_tokens
        last = self._turns_left() == 1
        if room <= (len(note) if last else 0):
            self._step = Done("context")
            return
        body = self._fit(documents, min(room - len(note) * last, self.limits.max_page_tokens))
        if not last and self._too_narrow(room - len(body)) and room > len(note):
            last, body = True, body[: max(room - len(note), 0)]
        self._append([*head, *body, *foot, *(note if last else ())], 0)
        self._step = self._generate(last=last)

    def feed_failure(self) -> None:
        """The search failed for good: the episode ends here, and says so; no page is made up."""
        self._expect(Search)
        self._step = Done("engine_error")

    def _goes_on(self, step: Generate, text: str, start: int, opened: bool) -> bool:
        """Ask for the rest of a turn that was stopped at a tag which it only thinks of, while there is room."""
        left = min(self._room(), self.limits.max_turn_tokens - (len(self.ids) - start))
        stopped = any(stop in text for stop in STOP_STRINGS)
        if left < 1 or not stopped or stop_end(text, STOP_STRINGS, opened=opened) is not None:
            return False
        self._turn_start = start
        self._step = Generate(list(self.ids), left, step.last, step.piece + 1)
        return True

    def _observe(self, note: str) -> None:
        ids = self.codec.encode(note)
        room = self._room() - self.limits.answer_reserve_tokens
        last = self._turns_left() == 1 or self._too_narrow(room - len(ids))
        if last:
            ids = self.codec.encode(note + LAST_TURN_NOTE)
            if room < len(ids):
                ids = self.codec.encode("\n" + LAST_TURN_NOTE)
        if room < len(ids):
            self._step = Done("context")
            return
        self._append(ids, 0)
        self._step = self._generate(last=last)

    def _too_narrow(self, room: int) -> bool:
        """Whether a turn of `answer_reserve_tokens` would leave no room for its page: it is then told to answer."""
        frame = self.codec.encode("\n<information>\n</information>\n" + LAST_TURN_NOTE)
        return room <= len(frame) + self.limits.answer_reserve_tokens

    def _fit(self, documents: Sequence[Document], room: int) -> list[int]:
        body: list[int] = []
        for rank, document in enumerate(documents, start=1):
            line = self.codec.encode(render_document(document, rank, self.codec.clean) + "\n")
            if len(body) + len(line) > room:
                return body if body else line[:room]
            body += line
        return body

    def _generate(self, *, last: bool = False) -> Generate | Done:
        room = self._room()
        if room < max(self.limits.answer_reserve_tokens, 1):  # never ask for 0 tokens
            return Done("context")
        return Generate(list(self.ids), min(room, self.limits.max_turn_tokens), last or self._turns_left() == 1)

    def _turns_left(self) -> int:
        return self.limits.max_searches + 1 - len(self.turns)

    def _room(self) -> int:
        return self.limits.max_context_tokens - len(self.ids)

    def _append(self, ids: list[int], mask: int, logprobs: list[float] | None = None) -> None:
        self.ids += ids
        self.mask += [mask] * len(ids)
        self.logprobs += logprobs if logprobs is not None else [0.0] * len(ids)

    def _expect(self, kind: type[_Step]) -> _Step:
        if not isinstance(self._step, kind):
            raise RuntimeError(f"the episode asked for {type(self._step).__name__}, not for {kind.__name__}")
        return self._step
