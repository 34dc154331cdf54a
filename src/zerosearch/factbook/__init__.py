"""Factbook: questions over the CIA World Factbook (public domain), with a corpus in which every answer stands."""

from __future__ import annotations

from zerosearch.factbook.build import FactbookPaths, build
from zerosearch.factbook.questions import FactbookQuestion, load_factbook_questions

__all__ = ["FactbookPaths", "FactbookQuestion", "build", "load_factbook_questions"]
