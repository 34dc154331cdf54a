"""The same experiment on several machines: our engines, episodes and scores in another trainer."""
