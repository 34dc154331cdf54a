#!/usr/bin/env bash
# pack.sh WHEELS OUT [MEGABYTES]: wheels, package and scripts in parts of at most so many megabytes (2000), with checksums.
set -euo pipefail
wheels=$(realpath "$1") out=$2 megabytes=${3:-2000}
here=$(cd "$(dirname "$0")" && pwd) root=$(cd "$(dirname "$0")/../.." && pwd)
wanted=$(grep -c == "$here/wheels.txt") found=$(find "$wheels" -name '*.whl' | wc -l)
[[ $found -ge $wanted ]] || { echo "$wheels has $found wheels, wheels.txt names $wanted" >&2; exit 1; }
mkdir -p "$out" && cp "$here/install.sh" "$out/"
tar cf - --exclude __pycache__ -C "$here" env.sh run.sh probe.py verl-gpu.toml -C "$root" src \
  -C "$(dirname "$wheels")" --transform "s,^$(basename "$wheels")/,wheels/," "$(basename "$wheels")/" |
  split -b "${megabytes}000000" -d -a 3 - "$out/part-"
cd "$out" && sha256sum part-* > SHA256SUMS && du -shc part-*
