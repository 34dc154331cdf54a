"""The same experiment on more machines than one: engines, episodes and scores in somebody else's trainer."""
