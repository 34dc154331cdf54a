"""Every prompt of the prompted methods, in one place. Short and exact, so that small models can follow them.

What all questions have in common stands first: a generator reads a shared beginning once for a whole batch. The
protocol's own prompt, which `episode` uses, is in `zerosearch/episodes/protocol.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from zerosearch.episodes.protocol import render_document
from zerosearch.episodes.search import Document

_ANSWER = (
    "write only the answer itself, as short as possible, inside <answer> and </answer>, for example "
    "<answer> Lake Titicaca </answer>."
)
_PAGE = "<information>\n{page}\n</information>\n\nQuestion: {question}"
"""A page before its question: to be filled in by `format`, like what is in braces everywhere below."""

DIRECT = f"""Answer the question. Do not explain, {_ANSWER}

Question: {{question}}"""

# Only told to think, small models answer at once
COT = f"""Answer the question. Think step by step first, in a few sentences. Then {_ANSWER} Example:

Question: In which country was the author of the novel Emma born?
Emma was written by Jane Austen. Jane Austen was born in Steventon. Steventon lies in England. \
<answer> England </answer>

Question: {{question}}"""

RAG = f"""Answer the question. The documents may help; where they do not, use what you know. Do not explain, {_ANSWER}

{_PAGE}"""

READER = f"""Answer the question. The documents may help; where they do not, use what you know. Think step by step \
first, in a few sentences. Then {_ANSWER}

{_PAGE}"""

REACT = """Answer the question in turns. In each turn, write exactly two lines, a thought and one action:
Thought: what you know and what you still have to find out
Action: Search[a short query for one fact]
Then you are shown an observation, and the next turn begins. Once you know the answer, the action is
Action: Finish[only the answer itself, as short as possible]

Example:
Question: In which country was the author of the novel Emma born?
Thought: I have to find out who wrote the novel Emma.
Action: Search[author of the novel Emma]
Observation: [1] Emma (novel): Emma is a novel written by Jane Austen, published in 1815.
Thought: Jane Austen wrote it. I have to find out where she was born.
Action: Search[Jane Austen birthplace]
Observation: [1] Jane Austen: Jane Austen was born in Steventon, a village in England.
Thought: Jane Austen was born in England.
Action: Finish[England]

Question: {question}"""
REACT_OBSERVATION = "Observation: {page}"
REACT_INVALID = "Observation: That was no action. Write Action: Search[query] or Action: Finish[answer]."
REACT_LAST = "No searches are left. Give the answer now: Action: Finish[answer]"

SEARCH_O1 = f"""Answer the question. You reason step by step and can search: whenever you are missing a fact, write a \
short query inside <search> and </search>. You are then told what was found, and go on reasoning. Search for one fact \
at a time. Once you know enough, {_ANSWER} Example:

Question: In which country was the author of the novel Emma born?
I have to find out who wrote the novel Emma. <search> author of the novel Emma </search>
Found for author of the novel Emma: Emma was written by Jane Austen.
Now I need to know where Jane Austen was born. <search> Jane Austen birthplace </search>
Found for Jane Austen birthplace: Jane Austen was born in Steventon, a village in England.
Steventon lies in England. <answer> England </answer>

Question: {{question}}"""
SEARCH_O1_FOUND = "Found for {query}: {facts}"
SEARCH_O1_INVALID = "Go on: write a query inside <search> and </search>, or the answer inside <answer> and </answer>."
SEARCH_O1_LAST = "No searches are left. Give the answer now, inside <answer> and </answer>."
REASON_IN_DOCUMENTS = """Read the documents and write down the facts in them that answer the query and help with the \
reasoning so far. Use at most three sentences and only what the documents say. If nothing helps, write: nothing helpful.

<information>
{page}
</information>

Reasoning so far: {reasoning}

Query: {query}"""
NO_REASONING = "(none)"

IRCOT = f"""You answer a question by reasoning, one sentence at a time, with the help of documents. Write only the \
next sentence of the reasoning. It names one new fact that leads on to the answer. Once the answer is clear, write: So \
the answer is: ... Example of a whole reasoning:

Question: In which country was the author of the novel Emma born?
Emma was written by Jane Austen. Jane Austen was born in Steventon, a village in England. So the answer is: England.

{_PAGE}
Reasoning so far: {{reasoning}}
Next sentence:"""

TREE = f"""Take the next step towards answering the question. If a fact is missing, write a short query for it inside \
<search> and </search>, for example <search> highest lake navigable by large ships </search>. If you know enough, \
{_ANSWER} Write one of the two and nothing else.

{_PAGE}"""
RATE_ANSWER = f"""How likely is it that the proposed answer is right? Use the documents and what you know. Write one \
whole number from 0 (certainly wrong) to 10 (certainly right) and nothing else.

{_PAGE}
Proposed answer: {{answer}}"""
RATE_PAGES = f"""How likely is it that the question can be answered with these documents? Write one whole number from \
0 (not at all) to 10 (certainly) and nothing else.

{_PAGE}"""

NO_DOCUMENTS = "(no documents)"

USED_BY = {
    "direct": (DIRECT,),
    "cot": (COT,),
    "rag": (RAG,),
    "react": (REACT, REACT_OBSERVATION, REACT_INVALID, REACT_LAST),
    "search-o1": (SEARCH_O1, SEARCH_O1_FOUND, SEARCH_O1_INVALID, SEARCH_O1_LAST, REASON_IN_DOCUMENTS),
    "ircot": (IRCOT, READER),
    "tree-search": (TREE, RATE_ANSWER, RATE_PAGES, RAG),
}
"""The prompts of each method."""


def digest(method: str) -> str:
    """Of a method's prompts: predictions that were made with others are not to be gone on with."""
    return hashlib.sha256("\0".join(USED_BY[method]).encode()).hexdigest()[:12]


def render_documents(documents: Sequence[Document]) -> str:
    """The documents as lines `[1] Title: text`, neutralised; without any, a note that says so."""
    lines = [render_document(document, rank) for rank, document in enumerate(documents, start=1)]
    return "\n".join(lines) or NO_DOCUMENTS
