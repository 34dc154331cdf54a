"""Factbook: questions over the CIA World Factbook (public domain), with a corpus that holds every answer.

The data ship with the package. `recipes/factbook` in the repository makes them.
"""

from __future__ import annotations

from zerosearch.factbook.questions import PREFIX, FactbookQuestion, factbook_rows
from zerosearch.factbook.shipped import corpus_path, manifest

__all__ = ["PREFIX", "FactbookQuestion", "corpus_path", "factbook_rows", "manifest"]
