"""Records what public SQuAD scorers give for pairs of prediction and golden answers, for `test_scores_agree.py`.

The test only reads the record, so neither package is a dependency. To record again:

    python3.11 -m venv scorers && scorers/bin/pip install 'torchmetrics==1.9.0' 'transformers==4.57.6'
    scorers/bin/python scripts/record_scores.py

Two implementations are asked: `torchmetrics.functional.text.squad` and `transformers.data.metrics.squad_metrics` (which
left transformers with version 5), the latter for the normalised text as well. No formula of theirs is typed again here.
The pairs are synthetic: made from the lists below by a seeded generator, and some written by hand.
"""

from __future__ import annotations

import json
import platform
import random
import unicodedata
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from torchmetrics.functional.text import squad
from transformers.data.metrics import squad_metrics

SEED = 20250504
PATH = Path(__file__).resolve().parent.parent / "tests" / "evaluation" / "oracles" / "squad-scores.json"

NAMES = (
    "Lake Veltra", "São Miren", "Zürnberg", "Kraków-Östergård", "Ångelholm", "Ðakovina", "İzgora", "Straße 9",
    "北山", "東京タワー", "Москвино", "Αθηναία", "القاهرية", "Cañón del Ñu", "O'Harrow", "d’Arvelle", "J. R. Toldan",
    "U.S.S. Nimbus", "AC/DC Hall", "The The", "A", "An", "the", "Theodora", "Anna", "Athens the Great", "Vitamin A",
    "na\u00efve caf\u00e9", "nai\u0308ve cafe\u0301", "ﬁle", "ǅungla", "ß", "№5", "C++", "C#", "AT&T", "@home",
    "100%", "🇳🇵", "🎬 Kino",
    "Xi'an", "“Quoted”", "«Ñandú»", "x² + y²", "Ⅷ", "٣٤", "३", "１２３", "half\u00a0space",
    "zero\u200bwidth", "soft\u00adhyphen",
)  # fmt: skip
NUMBERS = (
    "0", "7", "42", "1,000", "1000", "1.000", "3.14", "-5", "−5", "1st", "2 million", "$9.99", "1984-12-31",
    "31 December 1984", "December 31, 1984", "10:30", "½", "0.5", "one", "1e3", "21st century", "1990s", "5'11\"",
    "007",
)  # fmt: skip
WORDS = (
    "the", "a", "an", "A", "The", "of", "in", "river", "queen", "king", "north", "north-west", "state", "State,",
    "(born)", "and", "&",
)  # fmt: skip
EDGES = (
    "", " ", "\t\n", ".", "...", "?!", "a", "the", "The.", "an the a", "-", "–", "'", "\u00a0", "\u3000", "\u200b",
    "no", "yes",
)  # fmt: skip
HAND: tuple[tuple[str, list[str]], ...] = (
    ("Denver Broncos", ["Denver Broncos", "The Denver Broncos", "the Broncos"]),
    ("the Denver Broncos football team", ["Denver Broncos"]),
    ("in the year 1912", ["1912"]),
    ("14 April 1912", ["April 14, 1912", "1912"]),
    ("usa", ["U.S.A.", "United States"]),
    ("U. S. A.", ["U.S.A."]),
    ("the-end", ["end"]),
    ("theatre", ["atre"]),
    ("new york new york", ["New York", "new york city"]),
    ("a a a b", ["b b a"]),
    ("Duran Duran", ["Duran Duran"]),
    ("Sirhan Sirhan, that man", ["Sirhan Bishara Sirhan", "Sirhan Sirhan"]),
    ("New York, New York", ["New York New York City"]),
    ("boutros boutros boutros ghali", ["Boutros Boutros-Ghali", "Boutros Boutros Ghali"]),
    ("I think it is Lima.", ["Lima"]),
    ("Lima; Cusco", ["Lima", "Cusco", "Lima and Cusco"]),
    ("STRASSE", ["Straße"]),
    ("İstanbul", ["istanbul", "i̇stanbul"]),
    ("cafe\u0301", ["caf\u00e9"]),
    ("ΟΔΟΣ", ["οδος", "οδοσ"]),
    ("thé a la menthe", ["thé la menthe"]),
    ("ana", ["an a"]),
    ("a.b", ["ab"]),
    ("a. b", ["b"]),
    ("the_end", ["theend"]),
    ("a/b", ["ab", "b"]),
    ("`code`", ["code"]),
    ("$1,000.50", ["1000.50", "100050"]),
    ("€5", ["5"]),
    ("Who?", ["Who", "The Who"]),
    ("", ["Lima"]),
    ("Lima", ["", "Lima"]),
    ("Lima", [""]),
    ("", [""]),
    ("the", ["a", "an"]),
    ("?", ["!"]),
)


def pairs() -> list[tuple[str, list[str]]]:
    """Every pair once: by hand, edges against edges and names, and names that a seeded generator has changed."""
    draw = random.Random(SEED)
    found = list(HAND)
    found += [(one, [other]) for one in EDGES for other in EDGES]
    found += [(name, [edge]) for name, edge in zip(NAMES, EDGES * 3, strict=False)]
    things = (*NAMES, *NUMBERS)
    for thing in things * 8:
        longer = " ".join([thing, *draw.sample(WORDS, draw.randint(0, 2))])
        golden = [*draw.sample(things, draw.choice((0, 1, 1, 2))), longer]
        draw.shuffle(golden)
        found.append((change(thing, draw), golden))
    unique = {json.dumps(pair): pair for pair in found}
    return list(unique.values())


def change(text: str, draw: random.Random) -> str:
    """`text` as a model might have written it."""
    ways: tuple[Callable[[], str], ...] = (
        lambda: text,
        text.upper,
        lambda: f"The {text}.",
        lambda: " ".join([*draw.sample(WORDS, 2), text]),
        lambda: f"{text}  {draw.choice(NUMBERS)}",
        lambda: unicodedata.normalize(draw.choice(("NFD", "NFKC")), text),
        lambda: f'"{text}" ({draw.choice(WORDS)})',
        lambda: text.replace(" ", draw.choice(("-", "  ", "\u00a0", "_", ", "))),
        lambda: "".join(draw.sample(text, len(text))),
        lambda: f"{text} {text}\n",
    )
    return ways[draw.randrange(len(ways))]()


def torchmetrics_scores(prediction: str, golden: list[str]) -> tuple[float, float]:
    scores = squad(
        [{"prediction_text": prediction, "id": "1"}],
        [{"answers": {"answer_start": [0] * len(golden), "text": golden}, "id": "1"}],
    )
    return float(scores["exact_match"]) / 100, float(scores["f1"]) / 100


def transformers_scores(prediction: str, golden: list[str]) -> tuple[float, float]:
    em = max(squad_metrics.compute_exact(gold, prediction) for gold in golden)
    return float(em), max(float(squad_metrics.compute_f1(gold, prediction)) for gold in golden)


def main() -> None:
    rows = []
    for prediction, golden in pairs():
        em, f1 = transformers_scores(prediction, golden)
        em_too, f1_too = torchmetrics_scores(prediction, golden)
        rows.append({
            "prediction": prediction,
            "golden": golden,
            "normalized": squad_metrics.normalize_answer(prediction),
            "transformers": [em, float(f"{f1:.10g}")],
            "torchmetrics": [em_too, float(f"{f1_too:.7g}")],
        })  # fmt: skip
    head = {
        "packages": {name: version(name) for name in ("torchmetrics", "transformers")},
        "python": platform.python_version(),
        "unicode": unicodedata.unidata_version,
        "seed": SEED,
        "scores": ["em", "f1"],
    }
    PATH.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    PATH.write_text(json.dumps(head)[:-1] + ', "pairs": [\n' + lines + "\n]}\n", encoding="utf-8")
    print(f"{PATH.name}: {len(rows)} pairs, {PATH.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
