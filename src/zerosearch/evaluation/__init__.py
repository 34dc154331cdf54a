"""Evaluation: a policy, an engine and fixed questions in; scores that say how they were made out."""
