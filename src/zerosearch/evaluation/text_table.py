"""A table of text, for the screen and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class TextTable:
    """Heads and cells. The first `names` columns name a line and are aligned to the left, the others hold numbers."""

    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    names: int = 1

    def markdown(self) -> str:
        rule = "|" + "---|" * len(self.heads)
        head, *rows = (
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in (self.heads, *self.lines)
        )
        return "\n".join([head, rule, *rows])

    def rich(self, width: int, title: str | None = None) -> list[Table]:
        """For a screen of `width` columns, in as many pieces as it takes to cut no number off: the columns that name a
        line stand in every piece."""
        sizes = [
            max(len(word) for word in (*head.split(), *(line[place] for line in self.lines)))
            for place, head in enumerate(self.heads)
        ]
        pieces: list[list[int]] = [[]]
        for place in range(self.names, len(self.heads)):
            shown = (*range(self.names), *pieces[-1], place)
            if pieces[-1] and sum(sizes[p] + 3 for p in shown) + 1 > width:  # a border and two blanks a column
                pieces.append([])
            pieces[-1].append(place)
        return [self._piece(piece, sizes, width, None if number else title) for number, piece in enumerate(pieces)]

    def _piece(self, piece: Sequence[int], sizes: Sequence[int], width: int, title: str | None) -> Table:
        """The columns get their `sizes`, and of what is left of `width` what they need to show their head in one line.

        Rich would take from all of them alike where a head is too long, and then cut the last column off. On a screen
        too narrow for the `sizes`, cells are broken.
        """
        whole = len(title or "") <= width  # rich would break it at the table's width
        said = Text(title or "", "table.title", no_wrap=whole, overflow="ignore" if whole else None)
        table = Table(title=said if title else None, title_justify="left")
        shown = (*range(self.names), *piece)
        left = width - sum(sizes[place] + 3 for place in shown) - 1
        fits = left >= 0
        for place in shown:
            aligned: Literal["left", "right"] = "left" if place < self.names else "right"
            more = min(left, max(len(self.heads[place]) - sizes[place], 0))
            left -= more
            table.add_column(
                self.heads[place], justify=aligned, overflow="fold", width=sizes[place] + more if fits else None
            )
        for line in self.lines:
            table.add_row(*(Text(line[place], no_wrap=fits) for place in shown))
        return table
