"""Which prompts a method uses, and that predictions made with others are told from its own."""

from __future__ import annotations

import pytest

from zerosearch.evaluation.methods import PROMPTED, prompts


def test_every_prompt_belongs_to_a_method_and_every_method_has_some() -> None:
    written = {
        value for name, value in vars(prompts).items() if name.isupper() and name[0] != "_" and isinstance(value, str)
    } - {prompts.NO_DOCUMENTS, prompts.NO_REASONING}
    assert {prompt for used in prompts.USED_BY.values() for prompt in used} == written
    assert prompts.USED_BY.keys() == PROMPTED.keys()


def test_a_digest_is_of_a_methods_own_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {method: prompts.digest(method) for method in prompts.USED_BY}
    assert len(set(before.values())) == len(before)
    monkeypatch.setitem(prompts.USED_BY, "cot", (prompts.COT + " ",))
    assert {method for method in before if prompts.digest(method) != before[method]} == {"cot"}
