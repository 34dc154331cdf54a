"""Sampling one token: the distribution it comes from, its log-prob, and where a stop string is seen."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_tokenizer
from torch import Tensor

from zerosearch.episodes.generation import Sampling
from zerosearch.models import sampling
from zerosearch.models.sampling import StopStrings, next_tokens, truncate, uniform

LOGITS = torch.tensor([0.3, -1.2, 2.0, 1.1, -3.0, 0.0, 0.9, 1.8, -0.5, 0.4])
CHI_SQUARE_9 = 33.7  # its 99.99th percentile with 9 degrees of freedom


def draw(count: int, **settings: Any) -> tuple[Tensor, Tensor]:
    return next_tokens(LOGITS.expand(count, -1), [Sampling(seed=seed, **settings) for seed in range(count)], 5)


def chi_square(ids: Tensor, probabilities: Tensor) -> float:
    observed = torch.bincount(ids, minlength=len(probabilities)).double()
    expected = probabilities.double() * len(ids)
    possible = expected > 0
    assert observed[~possible].sum() == 0  # nothing that was cut away is ever drawn
    return float(((observed - expected)[possible] ** 2 / expected[possible]).sum())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_and_logprobs_are_those_of_the_softmax_at_the_temperature(temperature: float) -> None:
    expected = torch.log_softmax(LOGITS / temperature, dim=0)
    ids, logprobs = draw(20_000, temperature=temperature)
    assert chi_square(ids, expected.exp()) < CHI_SQUARE_9
    torch.testing.assert_close(logprobs, expected[ids])


# The order of LOGITS: 2, 7, 3, 6, 9, 0, 5, 8, 1, 4; masses .312, .255, .127, .104, .063, .057, ...
@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"top_k": 3}, [2, 7, 3]),
        ({"top_k": 1}, [2]),
        ({"top_k": 10}, list(range(10))),
        ({"top_k": 99}, list(range(10))),
        ({"top_p": 0.29}, [2]),  # one token may have more than the mass asked for
        ({"top_p": 0.5}, [2, 7]),
        ({"top_p": 0.57}, [2, 7, 3]),  # .567 is short of it: the smallest set that reaches it
        ({"top_p": 0.0}, [2]),  # never nothing
        ({"top_k": 2, "top_p": 0.54}, [2]),  # the mass is that of what top_k left: .55 and .45
        ({"top_p": 0.5, "temperature": 4.0}, [2, 7, 3, 6]),  # and at the temperature: .157, .149, .125, .119
    ],
)
def test_truncation_renormalises_and_the_logprobs_are_those_of_the_truncated_distribution(
    settings: dict[str, Any], kept: list[int]
) -> None:
    expected = torch.full_like(LOGITS, float("-inf"))
    expected[kept] = torch.log_softmax(LOGITS[kept] / settings.get("temperature", 1.0), dim=0)
    ids, logprobs = draw(3000, **settings)
    assert set(ids.tolist()) == set(kept)
    assert chi_square(ids, expected.exp()) < CHI_SQUARE_9
    torch.testing.assert_close(logprobs, expected[ids])


def test_temperature_zero_is_the_likeliest_token_with_its_logprob_at_temperature_one() -> None:
    ids, logprobs = draw(50, temperature=0.0)
    assert set(ids.tolist()) == {2}
    torch.testing.assert_close(logprobs, torch.log_softmax(LOGITS, dim=0)[ids])
    tied, _ = next_tokens(torch.tensor([[1.0, 3.0, 3.0]]), [Sampling(temperature=0.0, seed=s) for s in range(1)], 0)
    assert tied.tolist() == [1]


def test_every_row_has_its_own_settings() -> None:
    settings = [
        Sampling(temperature=0.0),
        Sampling(temperature=0.3, seed=8),
        Sampling(temperature=2.0, seed=8),
        Sampling(top_k=2, seed=8),
        Sampling(top_p=0.4, seed=8),
    ]
    together, logprobs = next_tokens(LOGITS.expand(5, -1), settings, 3)
    for row, one in enumerate(settings):
        alone, logprob = next_tokens(LOGITS.unsqueeze(0), [one], 3)
        assert alone[0] == together[row]
        torch.testing.assert_close(logprob[0], logprobs[row])


def test_bfloat16_logits_are_sampled_in_float32() -> None:
    ids, logprobs = next_tokens(LOGITS.bfloat16().unsqueeze(0), [Sampling(seed=4)], 0)
    assert logprobs.dtype == torch.float32
    torch.testing.assert_close(logprobs, torch.log_softmax(LOGITS.bfloat16().float(), dim=0)[ids])


@pytest.mark.parametrize(("drawn", "token"), [(0.0, 1), (1 - 2**-53, 3)])
def test_not_even_the_outermost_draws_give_a_token_without_mass(drawn: float, token: int) -> None:
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf"), 1.0, float("-inf")]])
    assert sampling.draw(logits, torch.ones(1), torch.tensor([drawn], dtype=torch.float64))[0].tolist() == [token]


@pytest.mark.parametrize("vocabulary", [1, 255, 256, 257, 5000])
def test_draws_invert_the_cumulative_distribution(vocabulary: int) -> None:
    """Of any vocabulary, chunked or not; most tokens have no mass, and float64 by the plain way is the truth."""
    generator = torch.Generator().manual_seed(vocabulary)
    logits = torch.randn(200, vocabulary, generator=generator) * 4
    logits[:, ::3] = float("-inf") if vocabulary > 1 else 0.0
    uniforms = torch.rand(200, generator=generator, dtype=torch.float64)
    cumulative = torch.softmax(logits.double(), dim=1).cumsum(dim=1)
    ids, logprobs = sampling.draw(logits, torch.ones(200), uniforms)
    edge = (cumulative - uniforms.unsqueeze(1)).abs().min(dim=1).values < 1e-6  # float32 may round to the other side
    wanted = torch.searchsorted(cumulative, uniforms.unsqueeze(1), right=True).squeeze(1).clamp_max(vocabulary - 1)
    assert torch.equal(ids[~edge], wanted[~edge])
    assert torch.isfinite(logprobs).all()
    torch.testing.assert_close(logprobs, torch.log_softmax(logits, dim=1).gather(1, ids.unsqueeze(1)).squeeze(1))


def test_random_numbers_depend_on_seed_and_position_alone() -> None:
    # the numbers themselves: another release or another machine must draw the same
    assert [uniform(0, 0), uniform(1, 0)] == [0.7132391162649457, 0.6845110622161081]
    many = torch.tensor([[uniform(seed, position) for seed in range(500)] for position in range(20)])
    assert ((many >= 0) & (many < 1)).all()
    assert 0 <= uniform(2**63 - 1, 7) < 1
    assert len(set(many.flatten().tolist())) > 0.999 * many.numel()  # float32 here
    assert abs(many.mean().item() - 0.5) < 4 / (12 * many.numel()) ** 0.5  # four standard errors
    assert abs(torch.corrcoef(many[:2])[0, 1].item()) < 4 / 500**0.5


def test_truncate_leaves_the_logits_it_keeps_as_they_are() -> None:
    kept = truncate(LOGITS, 4, 1.0)
    assert torch.equal(kept[kept > float("-inf")], LOGITS[[2, 3, 6, 7]])
    assert torch.equal(truncate(LOGITS, 0, 1.0), LOGITS)


TOKENIZER = tiny_tokenizer()
STOP = ("</search>", "</answer>")


def byte_by_byte(text: str) -> list[int]:
    return [TOKENIZER.encode(character)[0] for character in text]


PIECES = [
    *(TOKENIZER.encode(text) for text in ("</search>", "</answer>.", "</search>></", "</search", " >", "</answer >")),
    *(byte_by_byte(text) for text in ("</search>", "</answer", "</sear", "ch", "é")),
    [TOKENIZER.convert_tokens_to_ids(">></")],
    [TOKENIZER.convert_tokens_to_ids(">.")],
    [TOKENIZER.convert_tokens_to_ids("Ã")],  # the first byte of a character of two, alone
    [TOKENIZER.eos_token_id],
]


@given(st.lists(st.sampled_from(PIECES), max_size=6))
def test_a_stop_string_is_seen_at_the_very_token_that_completes_it(pieces: list[list[int]]) -> None:
    ids = [i for piece in pieces for i in piece]
    stops = StopStrings(TOKENIZER, STOP)
    for end in range(len(ids) + 1):
        text = TOKENIZER.decode(ids[:end])
        assert stops.completed(ids[:end]) == any(stop in text for stop in STOP), text
        if any(stop in text for stop in STOP):
            break


def test_the_pieces_of_the_property_do_what_they_are_for() -> None:
    """Tokens that reach past the closing character, and the longest spelling of a stop string, must be among them."""
    assert Counter(TOKENIZER.decode(piece) for piece in PIECES)["</search>"] == 2
    assert any(len(piece) == len("</search>") for piece in PIECES)
    assert TOKENIZER.decode(TOKENIZER.encode("</answer>.")[-1]) == ">."


def test_without_stop_strings_nothing_stops() -> None:
    assert not StopStrings(TOKENIZER, ()).completed(TOKENIZER.encode("</search>"))
    assert not StopStrings(TOKENIZER, STOP).completed([])
