"""Where JAX is installed, a BM25 engine must not start it: it would take most of a GPU's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_engine_leaves_jax_alone_and_importable(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("started = []\n")
    (tmp_path / "jax" / "lax.py").write_text("def top_k(scores, k):\n    __import__('jax').started.append(k)\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import zerosearch.engines.bm25\n"
        "assert 'jax' not in sys.modules, 'imported'\n"
        "import jax.lax\n"
        "print(jax.started)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
