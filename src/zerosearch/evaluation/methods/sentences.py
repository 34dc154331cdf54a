"""Where a sentence ends: IRCoT's next query is the first sentence of what the model wrote.

    first_sentence("J. K. Rowling wrote it in St. Ives. Then ...")   # 'J. K. Rowling wrote it in St. Ives.'

A full stop ends a sentence unless it belongs to an initial, a title, an abbreviation or a number, or stands in
brackets, or what follows goes on in small letters. Those that may stand at an end as well (`Inc.`, `U.S.`, `Jr.`) end a
sentence where a word follows that begins one.
"""

from __future__ import annotations

import re

from zerosearch.episodes.replies import visible

_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|\Z)|[。！？]")
_TITLES = re.compile(
    r"mr|mrs|ms|mx|dr|prof|rev|fr|gen|col|capt|cmdr|lt|sgt|cpl|maj|adm|gov|sen|rep|pres|hon|messrs|mme|mlle|st|ste|mt|ft"
    r"|vs|v|ca|c|b|d|r|fl|cf|eg|ie|e\.g|i\.e|viz|eds?|trans|approx|dept|univ|lit|née?",
    re.IGNORECASE,
)
_BEFORE_NUMBERS = re.compile(
    r"nos?|vol|pp?|fig|op|ch|sec|art|ver|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec", re.IGNORECASE
)
_MAY_BE_LAST = re.compile(
    r"jr|sr|inc|ltd|co|corp|bros|plc|llc|esq|etc|al|est|am|pm|ave|blvd|rd|sq|bc|ad|ph\.d|(?:[^\W\d_]\.)+[^\W\d_]",
    re.IGNORECASE,
)
_STARTERS = re.compile(
    r"the|an?|its?|s?he|his|her|they|their|we|our|i|you|th(?:is|at|ese|ose|ere|en|us)|here|in|on|at|as|after|before"
    r"|during|since|from|for|with|by|to|of|when|where|while|although|however|but|and|or|so|later|born|both|each|some"
    r"|many|most|one|two|three|according|also|among|about|under|over|between|because|if|until|once",
    re.IGNORECASE,
)


def first_sentence(text: str) -> str:
    """The first sentence of the first line that is not blank, thoughts left out; empty for blank text.

    >>> first_sentence("Pi is 3.14, says Dr. No. Yes."), first_sentence("1. Nepal is no. 1 (c. 1900). So.")
    ('Pi is 3.14, says Dr. No.', '1. Nepal is no. 1 (c. 1900).')
    """
    line = next((line.strip() for line in visible(text).splitlines() if line.strip()), "")
    for end in _END.finditer(line):
        if not line[end.end() :].strip() or _ends(line[: end.end()], line[end.end() :].lstrip()):
            return line[: end.end()].strip()
    return line


def _ends(before: str, after: str) -> bool:
    """Whether a sentence ends between the two."""
    if after[0].islower() or after[0] in ",;:)" or before.count("(") > before.count(")"):
        return False
    stripped = before.rstrip("\"'”’)]")
    if not stripped.endswith(".") or stripped.endswith(".."):
        return True
    word = re.split(r"[\s(\[\"'“‘/–—-]", stripped[:-1])[-1]
    begins = _STARTERS.fullmatch(re.split(r"\W", after, maxsplit=1)[0]) is not None
    if not before[: len(stripped) - 1 - len(word)].strip() and (word.isdigit() or len(word) < 2):
        return False  # "1. Nepal ..."
    if _TITLES.fullmatch(word) or (_BEFORE_NUMBERS.fullmatch(word) and after[0].isdigit()):
        return False
    if len(word) == 1 and word.isalpha():
        return begins and word == "I"  # else an initial
    return begins if _MAY_BE_LAST.fullmatch(word) else True
