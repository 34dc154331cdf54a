"""Generators: what samples tokens from a language model."""
