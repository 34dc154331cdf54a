"""Agents that search turn by turn: ReAct and Search-o1. A turn that may not search is told so, and cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from zerosearch.episodes.protocol import Action, Message
from zerosearch.episodes.replies import visible, without_marks
from zerosearch.evaluation.methods import prompts
from zerosearch.evaluation.methods.answers import STOP_ACTION, STOP_OBSERVATION, parse_action, parse_react
from zerosearch.evaluation.methods.session import Session

_Observe = Callable[[Session, Action, list[Message]], Awaitable[str]]


@dataclass(frozen=True)
class _Agent:
    """How an agent is asked: first, after a turn without an action, and for its last turn; how its turns are read."""

    prompt: str
    invalid: str
    last: str
    stop: tuple[str, ...]
    parse: Callable[[str], Action]


_REACT = _Agent(prompts.REACT, prompts.REACT_INVALID, prompts.REACT_LAST, STOP_OBSERVATION, parse_react)
_SEARCH_O1 = _Agent(prompts.SEARCH_O1, prompts.SEARCH_O1_INVALID, prompts.SEARCH_O1_LAST, STOP_ACTION, parse_action)


async def react(session: Session) -> str | None:
    """Thought, action, observation, and again: `Search[...]` or `Finish[...]`.

    ReAct (Yao et al., ICLR 2023), multi-turn as the RA-Agent of the ZeroSearch table: each turn is a reply, each
    observation the page itself.
    """

    async def observe(session: Session, action: Action, chat: list[Message]) -> str:
        return prompts.REACT_OBSERVATION.format(page=prompts.render_documents(await session.search(action.text)))

    return await _turns(session, _REACT, observe)


async def search_o1(session: Session) -> str | None:
    """Agentic search with Reason-in-Documents: a second call condenses each page in the light of the reasoning so far,
    and only what it wrote goes back into the reasoning.

    Search-o1 (Li et al., EMNLP 2025, arXiv 2501.05366), with this package's tags for its special tokens.
    """

    async def observe(session: Session, action: Action, chat: list[Message]) -> str:
        documents = await session.search(action.text)
        earlier = [without_marks(m["content"]) for m in chat[1:]]  # its thoughts are its reasoning
        facts = await session.write(
            prompts.REASON_IN_DOCUMENTS.format(
                page=prompts.render_documents(documents),
                reasoning="\n".join(earlier) or prompts.NO_REASONING,
                query=action.text,
            )
        )
        return prompts.SEARCH_O1_FOUND.format(query=action.text, facts=visible(facts).strip())

    return await _turns(session, _SEARCH_O1, observe)


async def _turns(session: Session, agent: _Agent, observe: _Observe) -> str | None:
    """At most one turn more than there are searches; the last of them can only answer."""
    first = agent.prompt.format(question=session.asked)
    total = session.settings.max_searches + 1
    chat: list[Message] = [{"role": "user", "content": first if total > 1 else f"{first}\n\n{agent.last}"}]
    for turn in range(1, total + 1):
        text = await session.write(chat, stop=agent.stop)
        action = agent.parse(text)
        session.actions.append(action.kind)
        if action.kind == "answer":
            return action.text
        if turn == total:
            session.stop_reason = "refused_search" if action.kind == "search" else "no_answer"
            return None
        chat.append({"role": "assistant", "content": text.strip() or "..."})
        seen = await observe(session, action, chat) if action.kind == "search" else agent.invalid
        chat.append({"role": "user", "content": f"{seen}\n\n{agent.last}" if turn == total - 1 else seen})
    return None
