"""Write constraints.txt, or check it with another Python: `python scripts/constraints.py [--check]`.

Standard library only. pip resolves `.[train,dev]` without installing anything. The oldest supported Python decides the
versions, as what runs there is offered for the newer ones too; `--check` under each of those proves it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "constraints.txt"
OLDEST = (3, 11)
HEADER = """\
# What `make demo`, `make docs` and `make test` install: the versions of core, [train] and [dev] on Python 3.11 to 3.13.
# Made by `make constraints` with Python 3.11 on Linux; check with `make check-constraints PYTHON=python3.13`.
# A CPU build of torch (2.13.0+cpu) meets its line too. The CUDA packages are left to the torch wheel, which names them.
"""
# A CUDA 12 and a CUDA 13 build of one torch version need different versions of these.
LEFT_TO_TORCH = re.compile(r"nvidia-|cuda-|triton$")


def resolve(torch: str, constraints: Path | None) -> dict[str, str]:
    """Name (in lower case, with dashes) -> version of all that pip would install, without local labels."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip = [sys.executable, "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        dry = ["--dry-run", "--ignore-installed", "--only-binary=:all:", "--report", str(report)]
        pins = ["--constraint", str(constraints)] if constraints else []
        command = [*pip, *dry, *pins, f"{ROOT}[train,dev]", f"torch=={torch}"]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            sys.stderr.write(done.stderr)
            done.check_returncode()
        items = [item["metadata"] for item in json.loads(report.read_text(encoding="utf-8"))["install"]]
    versions = {re.sub(r"[-_.]+", "-", m["name"]).lower(): m["version"].split("+")[0] for m in items}
    return {
        name: versions[name] for name in sorted(versions) if name != "zerosearch-rl" and not LEFT_TO_TORCH.match(name)
    }


def read() -> dict[str, str]:
    """The pins in constraints.txt."""
    lines = FILE.read_text(encoding="utf-8").splitlines() if FILE.exists() else []
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def main() -> int:
    parser = argparse.ArgumentParser(description="Write constraints.txt, or check it with this Python.")
    parser.add_argument("--check", action="store_true", help="only see whether everything resolves to what it says")
    parser.add_argument("--torch", help="version of torch (default: the one in constraints.txt)")
    asked = parser.parse_args()
    pins, version = read(), ".".join(map(str, sys.version_info[:3]))
    torch = asked.torch or pins.get("torch")
    if torch is None:
        print("constraints: constraints.txt has no torch: name one with --torch", file=sys.stderr)
        return 1
    if not asked.check and sys.version_info[:2] != OLDEST:
        print(f"constraints: they are made with Python 3.11, this is {version}", file=sys.stderr)
        return 1
    try:
        found = resolve(torch, FILE if asked.check else None)
    except subprocess.CalledProcessError:
        print("constraints: pip could not resolve them (its own words are above)", file=sys.stderr)
        return 1
    if not asked.check:
        FILE.write_text(HEADER + "".join(f"{name}=={pin}\n" for name, pin in found.items()), encoding="utf-8")
        print(f"constraints.txt: {len(found)} packages, {sum(pins.get(n) != v for n, v in found.items())} changed")
        return 0
    missing = [f"{name}=={pin}" for name, pin in found.items() if pins.get(name) != pin]
    if missing:
        print(f"constraints: Python {version} also needs {', '.join(missing)}", file=sys.stderr)
        return 1
    print(f"Python {version}: {len(found)} packages, all as constraints.txt says")
    return 0


if __name__ == "__main__":
    sys.exit(main())
