"""Methods without an agent's turns: direct answer, chain of thought, RAG and IRCoT."""

from __future__ import annotations

from zerosearch.episodes.search import Document
from zerosearch.evaluation.methods import prompts
from zerosearch.evaluation.methods.answers import STOP_ANSWER, final_reply, is_final
from zerosearch.evaluation.methods.sentences import first_sentence
from zerosearch.evaluation.methods.session import Session

MAX_PARAGRAPHS = 15  # IRCoT's own bound on all documents together
_LONGEST_QUERY = 300  # characters


async def direct(session: Session) -> str | None:
    """The answer at once, from what the model knows: the first row of every table."""
    prompt = prompts.DIRECT.format(question=session.asked)
    return final_reply(await session.write(prompt, stop=STOP_ANSWER))


async def cot(session: Session) -> str | None:
    """Reasoning before the answer, no search.

    Chain of thought (Wei et al., NeurIPS 2022), with one worked example.
    """
    prompt = prompts.COT.format(question=session.asked)
    return final_reply(await session.write(prompt, stop=STOP_ANSWER))


async def rag(session: Session) -> str | None:
    """One retrieval with the question itself, then the answer.

    Retrieval-augmented generation (Lewis et al., NeurIPS 2020), with a frozen retriever and reader.
    """
    documents = await session.search(session.question.text) if session.searches_left else ()
    prompt = prompts.RAG.format(page=prompts.render_documents(documents), question=session.asked)
    return final_reply(await session.write(prompt, stop=STOP_ANSWER))


async def ircot(session: Session) -> str | None:
    """Retrieval interleaved with reasoning: the question is the first query, then each new sentence of the reasoning.

    Documents add up (at most `MAX_PARAGRAPHS`) until a sentence says the answer or no search is left; then a reader
    answers with all of them. IRCoT (Trivedi et al., ACL 2023), one worked example, one sentence a step.
    """
    question = session.asked
    documents: dict[tuple[str, str], Document] = {}
    reasoning: list[str] = []
    query = session.question.text
    while session.searches_left:
        found = await session.search(query[:_LONGEST_QUERY])
        for document in found[: MAX_PARAGRAPHS - len(documents)]:
            documents.setdefault((document.title, document.text), document)
        if not session.searches_left:
            break
        step = prompts.IRCOT.format(
            page=prompts.render_documents(list(documents.values())),
            question=question,
            reasoning=" ".join(reasoning) or prompts.NO_REASONING,
        )
        sentence = first_sentence(await session.write(step, max_tokens=96))
        if not sentence or is_final(sentence) or sentence in reasoning:
            break
        reasoning.append(sentence)
        query = sentence
    prompt = prompts.READER.format(page=prompts.render_documents(list(documents.values())), question=question)
    return final_reply(await session.write(prompt, stop=STOP_ANSWER))
