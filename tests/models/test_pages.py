"""Pages: nobody's page is given twice, what is kept is what was computed, and room is found where there is some."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zerosearch.models.pages import PAGE, SCRATCH, Pages

NUMBER = 12


def text(*letters: int) -> list[int]:
    """A whole page a letter."""
    return [letter for letter in letters for _ in range(PAGE)]


def test_a_prompt_begins_with_the_pages_of_an_earlier_one() -> None:
    pages = Pages(NUMBER)
    first = pages.take(3)
    pages.keep("policy", text(1, 2, 3), first)
    assert pages.match("policy", [*text(1, 2), 9]) == first[:2]
    assert pages.match("policy", text(1, 2)[:-1]) == first[:1]
    assert pages.match("policy", text(2)) == []
    assert pages.match("simulator", text(1)) == []


def test_what_is_kept_is_readable_after_its_owner_left_until_its_room_is_needed() -> None:
    pages = Pages(4)
    kept = pages.take(2)
    pages.keep(None, text(1, 2), kept)
    pages.release(kept)
    assert pages.available == 3
    again = pages.match(None, text(1, 2))
    assert again == kept
    pages.release(again)
    taken = pages.take(2)
    assert kept[0] not in taken, "the end of a text goes before its beginning"
    assert pages.match(None, text(1, 2)) == kept[:1]
    with pytest.raises(IndexError):
        pages.take(1)


def test_what_is_forgotten_is_not_begun_with() -> None:
    pages = Pages(NUMBER)
    used, left = pages.take(1), pages.take(1)
    pages.keep("policy", text(1), used)
    pages.keep("policy", text(2), left)
    pages.release(left)
    pages.forget()
    assert pages.match("policy", text(1)) == pages.match("policy", text(2)) == []
    pages.keep("policy", text(1), pages.take(1))
    pages.release(used)
    assert pages.match("policy", text(1)) not in ([], used)


class Machine(RuleBasedStateMachine):
    """Texts of two letters, so that beginnings meet; beside it, what each page holds by a plain record."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = Pages(NUMBER)
        self.held: list[list[int]] = []  # the pages of each user
        self.holds: dict[int, tuple[str, tuple[int, ...]]] = {}  # a page: the whole text up to its end

    @rule(speaker=st.sampled_from("ps"), letters=st.lists(st.integers(0, 1), min_size=1, max_size=4))
    def begin(self, speaker: str, letters: list[int]) -> None:
        matched = self.pages.match(speaker, text(*letters))
        for number, page in enumerate(matched):
            assert self.holds[page] == (speaker, tuple(letters[: number + 1]))
        if len(letters) - len(matched) > self.pages.available:
            self.pages.release(matched)
            return
        own = self.pages.take(len(letters) - len(matched))
        for number, page in enumerate(matched + own):
            self.holds[page] = (speaker, tuple(letters[: number + 1]))
        self.pages.keep(speaker, text(*letters), matched + own)
        self.held.append(matched + own)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.pages.release(self.held.pop(data.draw(st.integers(0, len(self.held) - 1))))

    @rule()
    def forget(self) -> None:
        self.pages.forget()
        assert self.pages.match("p", text(0)) == self.pages.match("s", text(1)) == []

    @invariant()
    def every_page_is_somewhere(self) -> None:
        used = {page for pages in self.held for page in pages}
        assert SCRATCH not in used
        assert self.pages.available == NUMBER - 1 - len(used)


TestMachine = Machine.TestCase
