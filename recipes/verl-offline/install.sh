#!/usr/bin/env bash
# install.sh TARGET: on the machine without network, in the folder of the parts. Changes nothing outside TARGET.
set -euo pipefail
target=${1:?usage: install.sh TARGET}
cd "$(dirname "$0")" && sha256sum -c --quiet SHA256SUMS
mkdir -p "$target" && cat part-* | tar xf - -C "$target" && cd "$target"
python3 -m pip install --quiet --no-index --no-deps --no-compile --target site wheels/*.whl
python3 -m compileall -q -j 0 site > /dev/null 2>&1 || true # some files are for other versions of Python
rm -r wheels && du -sh site
