"""The numbers of the adapters' model card are those of their own cards; scripts/results_claims.py checks the others."""

from __future__ import annotations

from pathlib import Path

from zerosearch.models.adapters import read_card, shipped_adapters

ROOT = Path(__file__).parents[2]
CARD = (ROOT / "docs" / "cards" / "adapters.md").read_text(encoding="utf-8")


def test_how_they_were_made_is_what_their_own_cards_say() -> None:
    policy, simulator = (read_card(shipped_adapters()[f"embedded:{name}"]) for name in ("policy", "simulator"))
    texts = " | ".join(
        f"{card['texts']:,} ({card['tokens'] / 1e6:.1f} million tokens), {card['result']['steps']} steps"
        for card in (policy, simulator)
    )
    assert f"| training texts | {texts} |" in CARD
    losses = f"{policy['result']['validation_loss']:.4f} | {simulator['result']['best_validation_loss']:.3f}"
    assert f"| validation loss | {losses.replace('0.', '.')} |" in CARD
    seconds = [f"{card['result']['seconds']:.0f} seconds" for card in (policy, simulator)]
    assert f"| {seconds[0]} | {seconds[1]} |" in CARD
