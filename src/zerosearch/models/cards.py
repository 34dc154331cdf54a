"""GPUs by a part of their name: memory, and the rates that bound what they can do, as their makers state them."""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Card:
    """`gib` of memory that a program can have, about; `bandwidth` bytes read of it a second; `rate` operations a second
    of dense matrices in bfloat16.
    """

    name: str
    gib: float
    bandwidth: float
    rate: float


CARDS = (
    Card("H200", 139.0, 4.8e12, 989e12),
    Card("B200", 178.0, 8.0e12, 2250e12),
    Card("H100", 79.0, 3.35e12, 989e12),
    Card("A100", 79.0, 2.04e12, 312e12),
    Card("L40S", 44.0, 0.864e12, 362e12),
    Card("4090", 23.5, 1.008e12, 165e12),
)


def card_named(name: str) -> Card | None:
    """The card whose name is part of `name`, as in "NVIDIA H100 80GB HBM3"; None for one that is not known here."""
    return next((card for card in CARDS if card.name.lower() in name.lower()), None)
