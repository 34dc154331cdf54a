"""Snippets: what a web engine shows of a page, the few sentences that fit the query.

Short pages cost a small model little context, and a simulator little time. `Snippets` wraps any engine.
"""

from __future__ import annotations

import re
from dataclasses import replace

import Stemmer
from bm25s.stopwords import STOPWORDS_EN

from zerosearch.engines.scripts import SENTENCE_END, count_words, first_words, spaced
from zerosearch.episodes.search import Document, SearchEngine, SearchPage, SearchRequest, close_connections
from zerosearch.files.identity import with_parts

_WORD = re.compile(r"\w+")
_STEMMER = Stemmer.Stemmer("english")
_STOP_WORDS = frozenset(_STEMMER.stemWords(list(STOPWORDS_EN)))  # the ones that BM25 leaves out too


class Snippets:
    """A `SearchEngine` that cuts the documents of another down to about `max_words` words each.

    In scripts without blanks two characters are a word (`scripts.py`).
    """

    def __init__(self, engine: SearchEngine, max_words: int) -> None:
        self.engine, self.max_words = engine, max_words
        self.name = f"{engine.name}/snippets-{max_words}"
        self.identity = with_parts(engine.identity, snippet_words=max_words)

    async def search(self, request: SearchRequest) -> SearchPage:
        page = await self.engine.search(request)
        documents = tuple(cut(document, request.query, self.max_words) for document in page.documents)
        return replace(page, documents=documents, engine=self.name)

    async def aclose(self) -> None:
        await close_connections(self.engine)


def cut(document: Document, query: str, max_words: int) -> Document:
    """The document with only those sentences that share most words with the query, in their order.

    Words of the title count for nothing, as the title is shown anyway, and neither do stop words. At least one sentence
    is kept, cut where it is more than a third longer than `max_words`: a date is better seen whole.
    """
    return replace(document, text=snippet(document.text, query, max_words, title=document.title))


def snippet(text: str, query: str, max_words: int, title: str = "") -> str:
    """See `cut`."""
    sentences = SENTENCE_END.split(text.strip())
    if count_words(text) <= max_words:
        return text
    wanted = _stems(query) - _stems(title) - _STOP_WORDS
    order = sorted(
        range(len(sentences)), key=lambda i: (-len(wanted & _stems(sentences[i])), _repeats(sentences[i], title), i)
    )
    kept, words = [order[0]], count_words(sentences[order[0]])
    for i in order[1:]:
        size = count_words(sentences[i])
        if words + size <= max_words and not _repeats(sentences[i], title):
            kept.append(i)
            words += size
    return first_words(" ".join(sentences[i] for i in sorted(kept)), max_words + max_words // 3)


def _repeats(sentence: str, title: str) -> bool:
    return _stems(sentence) <= _stems(title)


def _stems(text: str) -> set[str]:
    return set(_STEMMER.stemWords(_WORD.findall(spaced(text.lower()))))
