"""Make `.venv` and install zerosearch into it, or do nothing if that is done: `python scripts/install.py train,dev`.

Standard library only, as this runs before anything is installed. Versions come from constraints.txt; where packages
come from is for pip's own settings to say. One command line serves every machine: of equal versions pip prefers the one
with a local label, so `torch==2.13.0` becomes `2.13.0+cpu` where a CPU wheel is offered and the normal wheel elsewhere.
With an NVIDIA GPU the CPU wheel is ruled out.

A stamp in `.venv` says what was installed. It is trusted only while every file of it is still there. An environment
whose installation was cut off, or that lost files, is made again; one that somebody made by hand is kept and completed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "zerosearch-installed.json"
UNFINISHED = VENV / "zerosearch-unfinished"
INPUTS = ("pyproject.toml", "constraints.txt", "scripts/install.py")
OLDEST, NEWEST = (3, 11), (3, 13)

# pip says this once a package for every local index that lacks it.
NOISE = re.compile(r"^WARNING: Location .* is ignored: it is neither a file nor a directory")

# Run by the environment's own interpreter: what is installed, and what has lost files. A distribution without a RECORD
# was never installed to its end. Compiled files come and go.
INSPECT = """
import importlib.metadata, json, os, sys
found, damaged = {}, []
for d in importlib.metadata.distributions():
    if not str(d.locate_file("")).startswith(sys.prefix):
        continue
    name = d.metadata["Name"]
    found[name] = d.version
    files = d.files
    if files is None or not all(os.path.exists(d.locate_file(f)) for f in files if f.suffix != ".pyc"):
        damaged.append(name)
json.dump({"version": list(sys.version_info[:2]), "found": found, "damaged": damaged}, sys.stdout)
"""


class InstallError(Exception):
    """Something the reader has to put right; the text is the one line that says what."""


def install(extras: frozenset[str], exact: bool) -> None:
    """Bring `.venv` to the state that `extras` asks for. `exact`: its Python must be of this interpreter's version."""
    key, gpu = fingerprint(), has_nvidia_gpu()
    stamp, state = read_stamp(), inspect()
    if (reason := why_anew(stamp, state, exact)) is not None:
        say(f"Making .venv with Python {sys.version.split()[0]}{reason}")
        if VENV.is_symlink():  # `--clear` would empty what it leads to
            VENV.unlink()
        run([sys.executable, "-m", "venv", "--clear", str(VENV)], "cannot make .venv")
        stamp, state = {}, inspect()
    if state is None:
        raise InstallError(f"{PYTHON} does not run, although it was just made with {sys.executable}")
    wanted = extras | set(stamp.get("extras", ()))
    if (stamp.get("key"), stamp.get("gpu")) == (key, gpu) and extras <= set(stamp["extras"]):
        if stamp["distributions"].items() <= state["found"].items():
            return
        say("Packages in .venv were changed: going back to the versions in constraints.txt")
    slow = "minutes the first time, mostly for torch" if "train" in wanted or "dev" in wanted else "a minute or two"
    say(f"Installing zerosearch-rl[{','.join(sorted(wanted))}] into .venv ({slow})")
    started = time.monotonic()
    UNFINISHED.touch()
    STAMP.unlink(missing_ok=True)
    if "pip" not in state["found"]:  # an environment made by uv has none
        run([str(PYTHON), "-I", "-m", "ensurepip"], "cannot install pip into .venv")
    run(pip_command(wanted, gpu), "pip could not install zerosearch")
    state = inspect()
    if state is None or state["damaged"]:
        raise InstallError(f".venv is incomplete after the installation ({state}): run make clean and try again")
    write_stamp({"root": str(ROOT), "key": key, "gpu": gpu, "extras": sorted(wanted), "distributions": state["found"]})
    UNFINISHED.unlink()
    torch = state["found"].get("torch", "none")
    say(f"Installed in {time.monotonic() - started:.0f} s: {len(state['found'])} packages, torch {torch}")


def pip_command(extras: frozenset[str], gpu: bool) -> list[str]:
    """pip's command line. -I keeps PYTHONPATH and the user's own packages out of what counts as installed."""
    pip = [str(PYTHON), "-I", "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    no_cpu_build = [f"torch!={pinned('torch')}+cpu"] if gpu and "train" in extras else []
    return [
        *pip,
        *("--constraint", str(ROOT / "constraints.txt")),
        *("--editable", f"{ROOT}[{','.join(sorted(extras))}]"),
        *no_cpu_build,
    ]


def pinned(package: str) -> str:
    """The version that constraints.txt gives `package`."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    found = re.search(rf"^{re.escape(package)}==(\S+)", text, flags=re.MULTILINE)
    if found is None:
        raise InstallError(f"constraints.txt has no version of {package}")
    return found[1]


def why_anew(stamp: dict[str, Any], state: dict[str, Any] | None, exact: bool) -> str | None:
    """Why `.venv` has to be made from nothing, to be put behind a sentence; None if it can be used."""
    if not VENV.exists():
        return ""
    if UNFINISHED.exists():
        return ": the last installation was cut off"
    if state is None:
        return ": the one that is there does not run"
    version = tuple(state["version"])
    if not OLDEST <= version <= NEWEST or (exact and version != sys.version_info[:2]):
        return f": the one that is there has Python {version[0]}.{version[1]}"
    if state["damaged"]:
        return f": files of {', '.join(sorted(state['damaged'])[:3])} are missing"
    if stamp and stamp["root"] != str(ROOT):  # its scripts name the old place in their first line
        return f": the one that is there was made in {stamp['root']}"
    return None


def inspect() -> dict[str, Any] | None:
    """What `.venv` holds (see INSPECT), or None if it has no Python that runs."""
    try:
        done = subprocess.run([PYTHON, "-I", "-c", INSPECT], capture_output=True, check=True)
        return dict(json.loads(done.stdout))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def fingerprint() -> str:
    """A digest of the files that decide what is installed."""
    return hashlib.sha256(b"\0".join((ROOT / name).read_bytes() for name in INPUTS)).hexdigest()


def has_nvidia_gpu() -> bool:
    """Whether nvidia-smi is there and lists a GPU."""
    if (tool := shutil.which("nvidia-smi")) is None:
        return False
    try:
        done = subprocess.run([tool, "-L"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and b"GPU" in done.stdout


def read_stamp() -> dict[str, Any]:
    """The stamp; empty if there is none or it is not one of ours."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        fields = {"root", "key", "gpu", "extras", "distributions"}
        return stamp if isinstance(stamp, dict) and fields <= stamp.keys() else {}
    except (OSError, ValueError):
        return {}


def write_stamp(stamp: dict[str, Any]) -> None:
    """Put the stamp in place by one rename."""
    fresh = STAMP.with_suffix(".new")
    fresh.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, STAMP)


def run(command: list[str], failure: str) -> None:
    """Run a quiet command; what it wrote is shown only if it failed. On a terminal the seconds are counted."""
    started, live = time.monotonic(), sys.stdout.isatty()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while True:
            try:
                output, _ = process.communicate(timeout=1 if live else None)
                break
            except subprocess.TimeoutExpired:
                print(f"\r  {time.monotonic() - started:.0f} s ", end="", flush=True)
    if live:
        print("\r" + " " * 12 + "\r", end="", flush=True)
    if process.returncode < 0:
        raise InstallError(f"{failure}: it was killed by signal {-process.returncode}")
    if process.returncode > 0:
        UNFINISHED.unlink(missing_ok=True)  # it gave up by itself, and took back what it had begun
        sys.stderr.writelines(line for line in output.splitlines(keepends=True) if not NOISE.search(line))
        raise InstallError(f"{failure}; its own words are above")


def say(line: str) -> None:
    print(line, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make .venv and install zerosearch into it.")
    parser.add_argument("extras", help="extras of pyproject.toml, such as train,dev")
    parser.add_argument("--exact", action="store_true", help="a .venv of another Python version is made again")
    asked = parser.parse_args()
    try:
        install(frozenset(asked.extras.split(",")), asked.exact)
    except InstallError as error:
        print(f"install: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninstall: stopped; the next run starts afresh", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
