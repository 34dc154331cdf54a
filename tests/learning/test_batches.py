"""Micro-batches: every row once, within the budget, and pads that nobody takes for tokens."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.learning.batches import Sequences, micro_batches, pad, share_out
from zerosearch.learning.parallel import Processes

END = 2  # ends a text and pads it, as with SmolLM2
ROWS = st.lists(
    st.lists(st.tuples(st.sampled_from([0, END, 7, 411]), st.integers(0, 1)), min_size=1, max_size=30),
    min_size=1,
    max_size=25,
)


def sequences(rows: list[list[tuple[int, int]]]) -> Sequences:
    return Sequences([[i for i, _ in row] for row in rows], [[m for _, m in row] for row in rows])


@given(ROWS, st.integers(1, 120))
def test_every_row_is_in_exactly_one_micro_batch_just_as_it_was(rows: list[list[tuple[int, int]]], budget: int) -> None:
    whole = sequences(rows)
    batches = micro_batches(whole, budget)
    assert sorted(row for batch in batches for row in batch.rows) == list(range(len(rows)))
    for batch in batches:
        assert batch.ids_BT.shape == batch.mask_BT.shape
        assert batch.ids_BT.dtype == torch.int64
        for place, row in enumerate(batch.rows):
            length = len(whole.ids[row])
            assert batch.ids_BT[place, :length].tolist() == whole.ids[row]
            assert batch.mask_BT[place, :length].tolist() == whole.mask[row]
            # An id 0 or END of a row may be a target; a pad never is, whatever its id looks like.
            assert not batch.mask_BT[place, length:].any()
    assert sum(int(batch.mask_BT.sum()) for batch in batches) == sum(map(sum, whole.mask))


@given(ROWS, st.integers(1, 120))
def test_the_token_budget_is_kept_and_used(rows: list[list[tuple[int, int]]], budget: int) -> None:
    batches = micro_batches(sequences(rows), budget)
    for batch in batches:
        assert batch.ids_BT.numel() <= budget or len(batch.rows) == 1
    widths = [batch.ids_BT.shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)  # the largest first: out of memory shows at once
    for batch, after in pairwise(batches):
        assert batch.ids_BT.shape[1] * (len(batch.rows) + 1) > budget
        assert after.ids_BT.shape[1] <= len(min((rows[r] for r in batch.rows), key=len))


def test_equal_lengths_keep_their_order_and_the_split_is_the_one_expected() -> None:
    rows = [[(7, 1)] * n for n in (3, 5, 3, 5, 2)]
    assert [batch.rows for batch in micro_batches(sequences(rows), 10)] == [(1, 3), (0, 2, 4)]
    assert [batch.rows for batch in micro_batches(sequences(rows), 9)] == [(1,), (3,), (0, 2, 4)]
    assert [batch.rows for batch in micro_batches(sequences(rows), 4)] == [(1,), (3,), (0,), (2,), (4,)]
    assert micro_batches(Sequences([], []), 4) == []


def test_uneven_ids_and_mask_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Sequences([[1, 2], [3]], [[1, 1], [1, 0]])


def test_padding_is_zero_on_the_right() -> None:
    assert pad([[1, 2, 3], [4]]).tolist() == [[1, 2, 3], [4, 0, 0]]
    assert pad([[1.5], []]).tolist() == [[1.5], [0.0]]
    assert pad([[1], [2]], dtype=torch.float32).dtype == torch.float32


@given(ROWS, st.integers(2, 4), st.booleans())
def test_processes_share_all_rows_and_nobody_has_a_piece_more_than_needed(
    rows: list[list[tuple[int, int]]], size: int, packed: bool
) -> None:
    whole = sequences(rows)
    shares = share_out(whole, size, packed=packed)
    assert sorted(row for share in shares for row in share) == list(range(len(rows)))
    batches = [micro_batches(whole, 60, packed=packed, processes=Processes(rank, size)) for rank in range(size)]
    assert [sorted(row for batch in part for row in batch.rows) for part in batches] == shares
    if not packed:
        tokens = [sum(len(whole.ids[row]) for row in share) for share in shares]
        assert max(tokens) - min(tokens) <= max(map(len, whole.ids))


def test_rows_of_one_prompt_stay_together_and_it_is_counted_once() -> None:
    ids = [[1] * 10 + [5]] * 3 + [[2] * 10 + [5]] * 2 + [[3] * 11 + [5]]
    mask = [[0] * 10 + [1]] * 5 + [[0] * 11 + [1]]
    assert share_out(Sequences(ids, mask), 2, packed=True) == [[0, 1, 2], [3, 4, 5]]
    assert share_out(Sequences(ids, mask), 3, packed=True) == [[0, 1, 2], [3, 4], [5]]


@given(ROWS, st.integers(2, 3), st.booleans())
def test_divided_weights_want_as_many_passes_of_every_process(
    rows: list[list[tuple[int, int]]], size: int, packed: bool
) -> None:
    whole = sequences(rows)
    parts = [micro_batches(whole, 60, packed=packed, processes=Processes(r, size), even=True) for r in range(size)]
    assert len({len(part) for part in parts}) == 1
    assert sorted(row for part in parts for batch in part for row in batch.rows) == list(range(len(rows)))
    assert any(all(batch.rows for batch in part) for part in parts)  # no more than somebody needs
