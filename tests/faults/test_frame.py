"""The harness itself: a lost try is counted and fails its test."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


def test_a_lost_try_is_counted_and_fails_the_test(pytester: pytest.Pytester) -> None:
    from pathlib import Path

    here = Path(__file__).parent
    frame = (here / "conftest.py").read_text()
    option = "\ndef pytest_addoption(parser):\n    parser.addoption('--faults', action='store_true')\n"
    pytester.makeconftest(frame + option)
    pytester.makepyfile(
        """
        def test_tries(tally, tries):
            for n in range(tries(full=5, short=1)):
                with tally("falling", f"try {n}"):
                    assert n != 3, "it fell"
        """
    )
    result = pytester.runpytest_inprocess("--faults", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*falling: try 3: AssertionError: it fell*", "falling * 5 * 4 * 1"])
    assert result.ret == 1
    assert pytester.runpytest_inprocess("-p", "no:cacheprovider").ret == 0
