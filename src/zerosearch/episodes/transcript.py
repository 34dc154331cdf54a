"""A written-out episode, read back by the rules of training: which tokens are the policy's, what each turn does, and
why it is rewarded as it is. The text stands in for a policy and an engine; the `Episode` that reads it is the real one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from zerosearch.episodes.episode import Done, Episode, Generate
from zerosearch.episodes.generation import Generation, GenerationStop
from zerosearch.episodes.protocol import (
    INVALID_TURN_NOTE,
    LAST_TURN_NOTE,
    STOP_STRINGS,
    parse_turn,
    render_document,
)
from zerosearch.episodes.reasons import ANY_TAG, comparison, elsewhere, short
from zerosearch.episodes.replies import find_action, thinking, visible
from zerosearch.episodes.scoring import Scores, score_answer, with_format
from zerosearch.episodes.search import Document

_PAGE = re.compile(r"\s*<information>(?P<body>.*?)(?:</information>[ \t]*\n?|\Z)", re.DOTALL)
_RANK = re.compile(r"\[\d+\]\s*")
_LOOSE_TAG = re.compile(r"<\s*/?\s*(?:search|answer)\s*/?\s*>", re.IGNORECASE)


@dataclass(frozen=True)
class Segment:
    """`ids[start:end]` of the episode. Only `turn` is the policy's own (mask 1); `number` counts each kind from 1."""

    kind: Literal["prompt", "turn", "page", "note"]
    number: int
    start: int
    end: int

    @property
    def name(self) -> str:
        return self.kind if self.kind == "prompt" else f"{self.kind} {self.number}"


@dataclass(frozen=True)
class Transcript:
    """What became of a text. `remarks` say where it is read otherwise than it looks. `stop_reason` is that of the
    episode, or `unfinished` where the text ends before the episode does.
    """

    episode: Episode
    pages: tuple[tuple[Document, ...], ...]
    remarks: tuple[str, ...]
    stop_reason: str

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The episode cut where policy and observations meet."""
        episode = self.episode
        found = [Segment("prompt", 1, 0, episode.prompt_length)]
        counts = {"page": 0, "note": 0}
        starts = [turn.start for turn in episode.turns[1:]] + [len(episode.ids)]
        for number, (turn, following) in enumerate(zip(episode.turns, starts, strict=False), start=1):
            found.append(Segment("turn", number, turn.start, turn.end))
            if following > turn.end:
                kind: Literal["page", "note"] = "page" if turn.action.kind == "search" else "note"
                counts[kind] += 1
                found.append(Segment(kind, counts[kind], turn.end, following))
        return tuple(found)


def read_transcript(text: str, episode: Episode, *, ends: Sequence[str] = ()) -> Transcript:
    """Play `text`, the policy's turns with `<information>` blocks between them, through an episode that has not begun.

    A block right after a search is the engine's page, anywhere else it is the policy's own text. `ends` are the texts
    of the tokens that end a generation (`<|im_end|>`). Notes that training puts in may stand in the text or not.
    """
    codec = episode.codec
    pages: list[tuple[Document, ...]] = []
    remarks: list[str] = []
    rest = text.encode("utf-8", "replace").decode().strip()
    while not isinstance(step := episode.next(), Done) and (rest.strip() or episode.mid_turn):
        number = len(episode.turns) + 1
        if isinstance(step, Generate):
            end, reason = _turn_end(rest, ends)
            ids, rest = codec.encode(rest[:end]), rest[end:]
            if cut := len(ids) > step.max_tokens:
                by_turn = step.piece or step.max_tokens == episode.limits.max_turn_tokens
                which = "max_turn_tokens" if by_turn else "max_context_tokens"
                remarks.append(
                    f"turn {number} has {len(ids)} tokens: protocol.{which} cuts it off after {step.max_tokens}, "
                    "and what follows is not read"
                )
                ids, reason = ids[: step.max_tokens], "length"
            episode.feed_generation(Generation(ids, [0.0] * len(ids), reason))
            if episode.mid_turn:
                continue
            if "<information>" in episode.turns[-1].text:
                remarks.append(
                    f"turn {number} writes <information> itself: no engine was asked, and it is trained on like the "
                    "rest of the turn"
                )
            if cut:
                rest = ""
            elif episode.turns[-1].action.kind == "invalid":
                rest = _without(rest, INVALID_TURN_NOTE)
        else:
            documents, rest, remark = _page(rest, number - 1)
            before = len(episode.ids)
            episode.feed_page(documents)
            pages.append(documents)
            remarks += [*remark, *_losses(documents, codec.decode(episode.ids[before:]), len(pages), episode)]
        if not isinstance(episode.next(), Done):
            rest = _without(rest, LAST_TURN_NOTE)
    if isinstance(step, Done) and rest.strip():
        after = f"turn {len(episode.turns)}" if episode.turns else "the prompt"
        remarks.append(f"what comes after {after} is not read, the episode is over: {short(rest)}")
    stop_reason = step.stop_reason if isinstance(step, Done) else "unfinished"
    return Transcript(episode, tuple(pages), tuple(remarks), stop_reason)


def turn_fault(text: str, *, opened: bool = False) -> str | None:
    """Why a turn is no action, or not a well-formed one; None where it is. `parse_turn` decides, this words it.

    `opened`: the prompt has opened the thought that the turn begins with.
    """
    action = parse_turn(text, opened=opened)
    if action.well_formed:
        return None
    found = find_action(text, opened=opened, exact=True)
    if found is None:
        return _no_action(text, opened)
    opening = f"<{found.tag}>"
    if action.kind == "invalid":
        return "the answer is empty"
    head = "<think>" * opened + text[: found.start]
    if not head.lstrip().startswith("<think>"):
        return "it does not begin with <think>" if "<think>" not in head else "there is text before <think>"
    thought, _, between = head.lstrip().removeprefix("<think>").partition("</think>")
    if between.strip():
        return f"there is text between </think> and {opening}"
    body = text[found.start + len(opening) : found.end - len(opening) - 1]
    for name, part in (("thought", thought), (found.tag, body)):
        if tag := ANY_TAG.search(part):
            return f"there is a {tag[0]} inside the {name}"
    return "it is not a thought and then one action in the exact tags"


def explain(transcript: Transcript, golden_answers: Sequence[str], name: str, format_reward: float) -> str:
    """In one line, why the reward is what it is."""
    episode = transcript.episode
    scores = score_transcript(transcript, golden_answers)
    score = float(getattr(scores, name))
    turns = [turn.text for turn in episode.turns]
    if episode.answer is None:
        said = _why_no_answer(transcript) + elsewhere(transcript.pages, turns, golden_answers)
    else:
        said = comparison(episode.answer, golden_answers, name, scores)
        if score == 0:
            said += elsewhere(transcript.pages, (), golden_answers)
    if score == 0 and format_reward > 0:
        earned = with_format(score, scores, format_reward)
        said += f"; reward.format gives {earned:g}" + ("" if earned else ", as not every turn is well formed")
    return said


def score_transcript(transcript: Transcript, golden_answers: Sequence[str]) -> Scores:
    return score_answer(transcript.episode.answer, golden_answers, well_formed=transcript.episode.well_formed)


def _turn_end(text: str, ends: Sequence[str]) -> tuple[int, GenerationStop]:
    """Where a generation would stop: after the first closing tag or end token, or before a note of training."""
    found: list[tuple[int, GenerationStop]] = [(len(text), "eos")]
    found += [(text.find(tag) + len(tag), "stop") for tag in STOP_STRINGS if tag in text]
    found += [(text.find(end) + len(end), "eos") for end in ends if end and end in text]
    if (note := text.find(INVALID_TURN_NOTE.strip())) >= 0:
        found.append((note, "eos"))
    return min(found, key=lambda item: item[0])


def _page(text: str, turn: int) -> tuple[tuple[Document, ...], str, list[str]]:
    """The documents of the block at the head of `text`, what comes after it, and remarks."""
    match = _PAGE.match(text)
    if match is None:
        remark = f"no <information> follows the search of turn {turn}: it is read as an empty page"
        return (), text, [remark]
    lines = [line.strip() for line in match["body"].splitlines() if line.strip()]
    documents = tuple(Document("", _RANK.sub("", line, count=1) if _RANK.match(line) else line) for line in lines)
    unclosed = "</information>" not in match[0]
    return documents, text[match.end() :], ["an <information> block is never closed: it is read to the end"] * unclosed


def _losses(documents: Sequence[Document], shown: str, page: int, episode: Episode) -> list[str]:
    """Remarks on what the model is shown otherwise than the text has it."""
    remarks = []
    whole = [render_document(document, rank, episode.codec.clean) for rank, document in enumerate(documents, start=1)]
    lines = shown.splitlines()
    kept = sum(line in lines for line in whole)
    if shown and kept < len(whole):
        remarks.append(
            f"page {page}: {kept} of {len(whole)} documents fit whole into protocol.max_page_tokens = "
            f"{episode.limits.max_page_tokens} and the room left in the context"
        )
    if any(" ".join(document.text.split()) not in line for document, line in zip(documents, whole, strict=True)):
        remarks.append(f"page {page}: tags and control tokens in it are neutralised, a page cannot speak the protocol")
    return remarks


def _without(text: str, note: str) -> str:
    """`text` without `note` at its head, if it begins with it."""
    head = text.lstrip()
    return head[len(note.strip()) :].removeprefix("\n") if head.startswith(note.strip()) else text


def _no_action(text: str, opened: bool) -> str:
    if thinking(text, opened=opened):
        acts = any(tag in text for tag in ("<search>", "<answer>"))
        return "its thought is never closed" + (": tags inside of a thought are no action" if acts else "")
    seen = visible(text, opened=opened)
    ends = [(seen.find(tag), tag) for tag in STOP_STRINGS if tag in seen]
    if ends:
        closing = min(ends)[1]
        return f"{closing} without {closing.replace('/', '')} before it"
    for tag in ("<answer>", "<search>"):
        if tag in seen:
            return f"{tag} is never closed"
    if loose := _LOOSE_TAG.search(seen):
        return f"{short(loose[0])} is not a tag: they are lower case and without spaces"
    if any(tag in text for tag in STOP_STRINGS):
        return "its tags stand in a thought, or quote the instructions: neither is an action"
    return "there is neither <search> nor <answer> in it"


def _why_no_answer(transcript: Transcript) -> str:
    turns, limits = transcript.episode.turns, transcript.episode.limits
    if not turns:
        unread = transcript.stop_reason == "unfinished"
        return "no turn was read" if unread else "the prompt alone fills max_context_tokens"
    last = len(turns)
    fault = turn_fault(turns[-1].text, opened=turns[-1].opened)
    match transcript.stop_reason:
        case "refused_search":
            return (
                f"no answer: turn {last} searches, but all turns are used up (protocol.max_searches = "
                f"{limits.max_searches}) and it could only answer"
            )
        case "context":
            return (
                f"no answer: the episode has no room left (protocol.max_context_tokens = {limits.max_context_tokens})"
            )
        case "unfinished" if turns[-1].action.kind == "search":
            return f"no answer: the text ends with the search of turn {last}"
    return f"no answer: in turn {last}, {fault}"
