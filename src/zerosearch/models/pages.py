"""Which pages of a paged KV cache are free, in use, or kept for a later prompt with the same beginning.

A page holds the keys and values of `PAGE` tokens. A prompt that begins as an earlier one did takes its whole pages as
they are: instructions, a question that several episodes share, an episode's own turns before. Nothing here knows of
tensors.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import count

PAGE = 16
SCRATCH = 0  # a page that nobody owns: what pads write goes there

_Key = tuple[object, tuple[int, ...]]  # the page before it (or the weights that computed the first one), its tokens


class Pages:
    """The pages 1 to `number` - 1 of a cache. Page 0 is `SCRATCH`.

    A page is in use as long as somebody has taken it more often than released it. A page that was `keep`-ed stays
    readable after its last release, until its room is needed: the longest unused goes first.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._free = deque(range(1, number))
        self._users: dict[int, int] = {}
        self._nodes: dict[_Key, tuple[int, int]] = {}  # a kept page and its number in the chains, never given twice
        self._kept: dict[int, _Key] = {}
        self._unused: OrderedDict[int, None] = OrderedDict()  # kept and in nobody's use, the longest unused first
        self._numbers = count()

    @property
    def available(self) -> int:
        """How many pages `take` can give."""
        return len(self._free) + len(self._unused)

    def take(self, number: int) -> list[int]:
        """`number` pages of nobody's. Raises `IndexError` where fewer are available."""
        if number > self.available:
            raise IndexError(f"{number} pages wanted, {self.available} available")
        taken = []
        for _ in range(number):
            if not self._free:
                self._drop(next(iter(self._unused)))
            page = self._free.popleft()
            self._users[page] = 1
            taken.append(page)
        return taken

    def match(self, speaker: object, ids: Sequence[int]) -> list[int]:
        """The kept pages that `ids` begin with, computed by the weights of `speaker`. Taken for the caller."""
        pages = []
        before: object = ("first", speaker)
        for start in range(0, len(ids) - PAGE + 1, PAGE):
            found = self._nodes.get((before, tuple(ids[start : start + PAGE])))
            if found is None:
                break
            page, before = found
            self._users[page] = self._users.get(page, 0) + 1
            self._unused.pop(page, None)
            pages.append(page)
        return pages

    def keep(self, speaker: object, ids: Sequence[int], pages: Sequence[int]) -> None:
        """`pages` hold `ids`: let others begin with those that are full. A page whose like is kept already is not."""
        before: object = ("first", speaker)
        for start, page in zip(range(0, len(ids) - PAGE + 1, PAGE), pages, strict=False):
            key = (before, tuple(ids[start : start + PAGE]))
            if key not in self._nodes:
                if page in self._kept:
                    return  # it holds other tokens for others: a caller's mistake would spread
                self._nodes[key] = page, next(self._numbers)
                self._kept[page] = key
            before = self._nodes[key][1]

    def release(self, pages: Sequence[int]) -> None:
        """Give pages back, the last one first: what comes later in a text is forgotten sooner."""
        for page in reversed(pages):
            self._users[page] -= 1
            if self._users[page] == 0:
                del self._users[page]
                if page in self._kept:
                    self._unused[page] = None
                else:
                    self._free.append(page)

    def forget(self) -> None:
        """Keep nothing: the weights that computed it have changed."""
        self._free.extend(self._unused)
        for record in (self._nodes, self._kept, self._unused):
            record.clear()

    def _drop(self, page: int) -> None:
        key = self._kept.pop(page)
        del self._nodes[key]
        del self._unused[page]
        self._free.append(page)
