"""A search engine of your own: the text files of a folder, those first that share most words with the query.

zerosearch train CONFIG --set engine.kind=examples.engine:Notes --set 'engine.settings={folder="notes"}'
"""

from hashlib import sha256
from pathlib import Path

from zerosearch import Document, SearchPage, SearchRequest


class Notes:
    """`identity` holds whatever pages depend on: a run does not resume, and a cache is not read, with other notes."""

    name = "notes"

    def __init__(self, folder: str) -> None:
        self.notes = [Document(path.stem, path.read_text(), str(path)) for path in sorted(Path(folder).glob("*.txt"))]
        self.identity = f"notes texts={sha256(repr(self.notes).encode()).hexdigest()[:16]}"

    async def search(self, request: SearchRequest) -> SearchPage:
        """At most `top_k` documents. Raise `zerosearch.errors.EngineError` where a search fails."""
        words = set(request.query.lower().split())

        def shared(note: Document) -> int:
            return len(words & set(f"{note.title} {note.text}".lower().split()))

        best = sorted(self.notes, key=shared, reverse=True)[: request.top_k]
        return SearchPage(tuple(note for note in best if shared(note)), self.name)
