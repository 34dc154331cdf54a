"""Run the examples of examples/environments for real, each in a virtual environment of its own: make test-environments.

    python scripts/environments.py                 # all of them
    python scripts/environments.py trl verifiers   # some

The trainers need packages that the project's own environment has not, or has at other versions. What is installed lies
in `.environments/NAME`; a later call only brings it up to date. Versions within the ranges are for pip to choose; those
of torch and transformers are the ones of constraints.txt.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from install import NOISE

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".environments"
TESTING = ["pytest>=8.3,<10", "hypothesis>=6.115,<7"]
NEEDS = {
    "trl": ["-c", "constraints.txt", "-e", ".[train]", "trl==1.16.*"],
    "verifiers": ["-e", ".", "verifiers==0.4.*", "uv>=0.9,<1"],
    "inspect": ["-e", ".", "inspect-ai>=0.3.285,<0.4", "openai>=3.4,<4"],
    "openreward": ["-e", ".", "openreward>=0.1.167,<0.2"],
}
"""What pip installs for each, from the project's folder."""
SERVE, SERVED = ["-e", ".[serve]"], {"trl", "verifiers"}
"""What `zerosearch serve` needs, in an environment of its own as well; and whose tests search by its URL."""


def install(name: str, needs: list[str]) -> int:
    """Bring the environment up to date; returns pip's status."""
    place = FOLDER / name
    python = place / "bin" / "python"
    if not python.exists():
        print(f"{name}: making {place.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
    began = time.perf_counter()
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, *needs], cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    print("".join(line for line in installed.stderr.splitlines(True) if not NOISE.match(line)), end="", flush=True)
    took = f"installed in {time.perf_counter() - began:.0f} s"
    print(f"{name}: {'could not be installed' if installed.returncode else took}", flush=True)
    return installed.returncode


def test(name: str) -> int:
    """Install what is needed, then run the tests of `name`; returns pytest's status, or pip's where that failed."""
    if failed := install(name, NEEDS[name] + TESTING) or (name in SERVED and install("serve", SERVE)):
        return failed
    python = FOLDER / name / "bin" / "python"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TRL_EXPERIMENTAL_SILENCE": "1"}
    command = [python, "-m", "pytest", "-q", f"tests/environments/test_{name}.py"]
    return subprocess.run(command, cwd=ROOT, env=env, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NEEDS)}; none: all")
    names = parser.parse_args().names or list(NEEDS)
    if unknown := sorted(set(names) - set(NEEDS)):
        parser.error(f"{', '.join(unknown)}: not one of {', '.join(NEEDS)}")
    failed = [name for name in names if test(name)]
    print(f"failed: {', '.join(failed)}" if failed else f"all passed: {', '.join(names)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
