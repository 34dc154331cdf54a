"""The engine that a language model plays, and what makes one: collect, record, label, pairs, fidelity."""
