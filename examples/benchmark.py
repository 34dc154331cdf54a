"""A benchmark of your own: a function that gives questions, in the same order and with the same ids every time.

zerosearch evaluate --benchmarks examples.benchmark:capitals --engine bm25 --corpus factbook --model MODEL --out out
"""

from zerosearch import Question

CAPITALS = {"Nepal": ("Kathmandu",), "Peru": ("Lima",), "Bolivia": ("Sucre", "La Paz")}


def capitals() -> list[Question]:
    """Golden answers are all those that count as right."""
    return [Question(country, f"What is the capital of {country}?", names) for country, names in CAPITALS.items()]
