"""Word search in memory; and JAX, where it is installed, is not started: it would take most of a GPU's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from zerosearch.engines.lexical import Lexicon


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


def test_a_lexicon_finds_the_texts_most_like_another() -> None:
    texts = ["the capital of Nepal", "rivers of Peru", "the capital of Peru", ""]
    lexicon = Lexicon(texts)
    assert lexicon.nearest("Peru's capital", 5)[0] == 2
    assert set(lexicon.nearest("Peru's capital", 5)) == {0, 1, 2}
    assert len(lexicon.nearest("Peru's capital", 2)) == 2
    assert lexicon.nearest("zebra", 5) == lexicon.nearest("the of", 5) == []
    for empty in ([], [""], ["the of"]):
        assert Lexicon(empty).nearest("Peru", 5) == []
