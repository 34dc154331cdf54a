"""The cost of searches and tokens, and budgets."""
