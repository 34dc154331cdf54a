"""Log-probs of given tokens under a model. The LM head runs only for the needed positions.

The head is the dearest layer of a small model (SmolLM2: 28 of 135 million parameters, 49,152 outputs a token), and an
episode's prompt and pages need no logits at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from zerosearch.learning.batches import MicroBatch
from zerosearch.learning.losses import entropy_from_logits
from zerosearch.learning.packing import hidden_states
from zerosearch.models.sampling import truncate

EntropyUse = Literal["none", "metric", "loss"]
CHUNK = 2048


@dataclass(frozen=True)
class Sampled:
    """What a sampler draws from: the softmax at `temperature`, over the tokens that `top_k` and `top_p` keep."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class TokenLogprobs(NamedTuple):
    """`logprobs_N` and `entropy_N` (None if not asked for) of the N masked tokens of a micro-batch, row by row.

    A tuple, as FSDP looks for the tensors of what a forward pass returns.
    """

    logprobs_N: Tensor
    entropy_N: Tensor | None


def head_is_plain(model: Any) -> bool:
    """Whether the model's logits are its output embedding applied to the decoder's last hidden states, and no more.

    Models that scale or cap their logits (Gemma 2, Cohere, Granite) are not plain: they run the whole head.
    """
    ids = torch.arange(4, device=model.device).unsqueeze(0)
    with torch.no_grad():
        hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        return bool(torch.equal(model.get_output_embeddings()(hidden), model(input_ids=ids, use_cache=False).logits))


def token_logprobs(
    model: Any,
    micro: MicroBatch,
    sampled: Sampled = Sampled(),
    *,
    entropy: EntropyUse = "none",
    plain_head: bool = True,
) -> TokenLogprobs:
    """Log-probs (N,) of the tokens where the mask is 1, of the distribution that they were sampled from, in float32.

    `CHUNK` rows of logits exist at a time; they are recomputed in the backward pass. The entropy has a gradient only
    where it is part of the loss. The rows are read packed where the batch holds them so (for a model that `can_pack`).

    Raises `ValueError` for a masked token at position 0, which nothing predicts.
    """
    ids_BT, mask_BT = micro.ids_BT, micro.mask_BT
    if bool(mask_BT[:, 0].any()):
        raise ValueError("the first token of a sequence has nothing before it to be predicted from")
    predicted = mask_BT[:, 1:].bool()
    targets_N = ids_BT[:, 1:][predicted]
    head = model.get_output_embeddings() if plain_head else torch.nn.Identity()
    if plain_head and micro.packing is not None:
        inputs_N = hidden_states(model, micro.packing)
    elif plain_head:
        inputs_N = model.get_decoder()(input_ids=ids_BT, use_cache=False).last_hidden_state[:, :-1][predicted]
    else:
        inputs_N = model(input_ids=ids_BT, use_cache=False).logits[:, :-1][predicted]

    def piece(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(hidden).float() / sampled.temperature
        if sampled.top_k > 0 or sampled.top_p < 1.0:
            logits = keep(logits, targets, sampled.top_k, sampled.top_p)
        chosen = logits.gather(1, targets.unsqueeze(1)).squeeze(1) - torch.logsumexp(logits, dim=1)
        if entropy == "none":
            return chosen, torch.zeros_like(chosen)
        return chosen, entropy_from_logits(logits if entropy == "loss" else logits.detach())

    chosen, entropies = [], []
    several = len(targets_N) > CHUNK and torch.is_grad_enabled()
    for start in range(0, max(len(targets_N), 1), CHUNK):
        part = (inputs_N[start : start + CHUNK], targets_N[start : start + CHUNK])
        logprob, entropy_n = checkpoint(piece, *part, use_reentrant=False) if several else piece(*part)
        chosen.append(logprob)
        entropies.append(entropy_n)
    return TokenLogprobs(torch.cat(chosen), torch.cat(entropies) if entropy != "none" else None)


def keep(logits_NV: Tensor, targets_N: Tensor, top_k: int, top_p: float) -> Tensor:
    """-inf for all but the tokens that a sampler keeps (`truncate`), and the sampled ones.

    A softmax over what is kept has scores whose mean under the sampler is 0. Without this each token's score is as over
    all tokens, and weight moves from those that are never sampled to those that are, whatever the advantage. A sampled
    token that rounding, or an update, puts just outside is kept with them.
    """
    left_out = torch.isneginf(truncate(logits_NV.detach(), top_k, top_p)).scatter(1, targets_N.unsqueeze(1), False)
    return logits_NV.masked_fill(left_out, float("-inf"))


def scatter(values_N: Tensor, mask_BT: Tensor) -> Tensor:
    """Put (N,) values back where the mask is 1: (B, T), 0 elsewhere. The inverse of `x_BT[mask_BT.bool()]`."""
    out = values_N.new_zeros(mask_BT.shape)
    return out.masked_scatter(mask_BT.bool(), values_N)
