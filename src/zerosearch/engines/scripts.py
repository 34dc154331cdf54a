"""Scripts that are written without blanks: Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan; and Korean.

    spaced("尼泊尔的首都 Kathmandu")            # '尼泊 泊尔 尔的 的首 首都 Kathmandu'
    first_words(text, 15)                        # two characters of such a script count as a word

An index of words takes a sentence of them for one word. Cut into overlapping pairs of characters (bigrams, as Lucene's
CJK analyzer does it) they can be searched without a dictionary. All other text stays as it is.
"""

from __future__ import annotations

import re
import unicodedata

_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai, Lao, Tibetan; Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u3100-\u312f\u31a0-\u31bf\u31f0-\u31ff\uff66-\uff9f"  # kana, bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
_HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7ff"  # has blanks, but a word carries its particles
_MARKED = "\u0900-\u0dff"  # Devanagari to Sinhala: blanks, and signs that `\w` takes for no part of a word
_MARKS = "".join(
    character
    for character in map(chr, [*range(0x0900, 0x10A0), *range(0x1780, 0x1800), 0x3099, 0x309A])
    if unicodedata.category(character) in ("Mn", "Mc")
)
_CLUSTER = rf"[^{_MARKS}](?:[\u17d2\u1039].|[{_MARKS}])*|[{_MARKS}]+"
_LETTERS = str.maketrans({mark: chr(0x28000 + ord(mark)) for mark in _MARKS})  # signs as letters, for `\w`

_SPECIAL = re.compile(f"[{_UNSPACED}{_HANGUL}{_MARKED}]")
_NO_BLANKS = re.compile(f"[{_UNSPACED}]")
_RUN = re.compile(f"[{_UNSPACED}{_HANGUL}]+")
_SPECIAL_RUN = re.compile(f"[{_UNSPACED}{_HANGUL}]+|[{_MARKED}]+")
_CLUSTERS = re.compile(_CLUSTER, re.DOTALL)
_LONG = 100  # characters without a blank, in any script, are more than a word
_LONG_RUN = re.compile(rf"\S{{{_LONG}}}")
_WORDS = re.compile(rf"(?:[{_UNSPACED}][{_MARKS}]*){{1,2}}|[^\s{_UNSPACED}]{{1,{_LONG}}}")


def spaced(text: str, *, single: bool = False) -> str:
    """`text` with bigrams for the runs of such scripts, parted by blanks; `single`: their single characters too.

    A run of one character becomes `水_`: so it is found where the indexed text was cut with `single`.
    """
    if text.isascii() or not _SPECIAL.search(text):
        return text
    return _RUN.sub(lambda run: f" {_cut(run[0], single)} ", text).translate(_LETTERS)


def bigrams(text: str, *, single: bool = False) -> str:
    """What `spaced` would cut of `text`, without the rest; empty for text in Latin, Greek, Cyrillic, ... letters."""
    if text.isascii() or not _SPECIAL.search(text):
        return ""
    runs = (_cut(run[0], single) if _RUN.match(run[0]) else run[0] for run in _SPECIAL_RUN.finditer(text))
    return " ".join(runs).translate(_LETTERS)


def _cut(run: str, single: bool) -> str:
    clusters = _CLUSTERS.findall(unicodedata.normalize("NFKC", run))
    words = [clusters[i] + clusters[i + 1] for i in range(len(clusters) - 1)]
    if single or not words:
        words += [f"{cluster}_" for cluster in clusters]
    return " ".join(words)


def count_words(text: str) -> int:
    """Words as blanks part them; two characters of a script without blanks are one."""
    return sum(1 for _ in _WORDS.finditer(text)) if _odd(text) else len(text.split())


def first_words(text: str, count: int) -> str:
    """The first `count` words of `text`, as `count_words` counts them, parted by single blanks."""
    if count < 1:
        return ""
    text = " ".join(text.split())
    if not _odd(text):
        return " ".join(text.split()[:count])
    for number, word in enumerate(_WORDS.finditer(text), start=1):
        if number == count:
            return text[: word.end()]
    return text


def _odd(text: str) -> bool:
    return bool(_LONG_RUN.search(text) or (not text.isascii() and _NO_BLANKS.search(text)))


SENTENCE_END = re.compile(
    r"(?<=[.!?])\s+(?=\S)"
    r"|(?<=[\u3002\uff01\uff1f\uff61\u17d4\u104b\u0964])\s*(?=\S)"  # full stops of CJK, Khmer, Burmese, Hindi
    r"|(?<=[\u0e00-\u0eff])\s+(?=[\u0e00-\u0eff])"  # in Thai and Lao a blank ends a clause
)
