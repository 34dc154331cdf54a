"""How the scripts of these folders end where something is wrong: `python -m recipes.FOLDER.NAME`.

Those of beat-rag are run by their path and have the same in a file of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from zerosearch.errors import ZeroSearchError


def run(main: Callable[[], object]) -> None:
    """Run `main`; a file that is not there or is no data, or a refusal of zerosearch, is one line and status 1."""
    try:
        main()
    except (ZeroSearchError, OSError) as error:
        sys.exit(f"error: {error}")
