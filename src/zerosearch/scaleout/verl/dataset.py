"""Questions as verl reads them: one Parquet row a question, with what its agent loop, its tools and its rewards need.

    write_questions(path, questions, render=prompt_of, split="train")
    question = question_of(row["extra_info"])

Columns: `data_source`, `prompt` (one user's message), `ability`, `reward_model` (rule, golden answers), `extra_info`
(its index, the question as `Question.as_row` in JSON, and `tools_kwargs` for `tools.SearchTool`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zerosearch.episodes.questions import Question
from zerosearch.errors import DataError, install
from zerosearch.files.jsonl import atomic_write

SOURCE = "zerosearch"
TOOL = "search"


def question_row(question: Question, index: int, prompt: str, split: str) -> dict[str, Any]:
    """One row. `prompt` is the user's message, for whoever keeps verl's own agent loops; ours makes its own."""
    answers = list(question.golden_answers)
    known = {"id": question.id, "question": question.text, "golden_answers": answers}
    return {
        "data_source": SOURCE,
        "prompt": [{"role": "user", "content": prompt}],
        "ability": "search",
        "reward_model": {"style": "rule", "ground_truth": answers},
        "extra_info": {
            "index": index,
            "split": split,
            "question": question.text,
            "row": json.dumps(question.as_row(), ensure_ascii=False),
            "need_tools_kwargs": True,
            "tools_kwargs": {TOOL: {"create_kwargs": known}},
        },
    }


def question_of(extra_info: Mapping[str, Any]) -> Question:
    """The question of a row's `extra_info`. Raises `DataError` for a row that `question_row` did not make."""
    try:
        return Question.from_row(json.loads(extra_info["row"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"a data row without its question ({error}): make the file with zerosearch train --on verl"
        ) from None


def write_questions(path: Path, questions: Sequence[Question], render: Callable[[str], str], split: str) -> None:
    """Write `questions` as Parquet, whole or not at all. `render` makes a prompt of a question's text.

    Raises `DataError` without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow.parquet import write_table
    except ImportError:
        raise DataError(f"verl reads Parquet, which needs pyarrow: {install('verl')}") from None
    rows = [question_row(question, index, render(question.text), split) for index, question in enumerate(questions)]
    buffer = pyarrow.BufferOutputStream()
    write_table(pyarrow.Table.from_pylist(rows), buffer)
    atomic_write(path, buffer.getvalue().to_pybytes())
