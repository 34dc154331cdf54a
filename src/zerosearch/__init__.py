"""zerosearch teaches a language model to search, with a second language model playing the search engine.

Method: ZeroSearch, arXiv 2505.04588. Start with `zerosearch train`, or read `docs/`.
"""

__version__ = "0.2.0"
