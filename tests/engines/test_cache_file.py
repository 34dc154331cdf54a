"""The file of recorded pages: what goes in comes out, several processes may use it, and a kill leaves it readable."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.engines import cache_file as page_store
from zerosearch.engines.cache_file import PageStore, normalise_query
from zerosearch.episodes.search import Document, SearchPage
from zerosearch.errors import DataError, RunError
from zerosearch.usage import Usage

DOCUMENTS = (Document("Nepal", "Kathmandu is the capital.", "np"), Document("", "No title."))
PAGE = SearchPage(DOCUMENTS, "real", usage=Usage(usd=0.01))

WRITER = """
import sys
from pathlib import Path
from zerosearch.engines.cache_file import PageStore
from zerosearch.episodes.search import Document, SearchPage
from zerosearch.usage import Usage

path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.stdin.readline()  # all start together
store = PageStore(path)
for number in range(count):
    documents = tuple(Document(f"{name} {number}", "x" * 2000, str(rank)) for rank in range(5))
    store.put("real", 5, f"query {number} of {name}", SearchPage(documents, "real", usage=Usage(usd=0.5)))
    print(number, flush=True)
"""


def start_writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_page_comes_back_as_it_was(tmp_path: Path) -> None:
    with PageStore(tmp_path / "new" / "pages.sqlite") as store:
        store.put("real", 5, "capital of Nepal", PAGE)
        found = store.get("real", 5, "capital of Nepal")
    assert found is not None
    assert (found.documents, found.usage.usd, found.engine) == (DOCUMENTS, 0.01, "real")


def test_another_engine_top_k_or_case_is_another_page(tmp_path: Path) -> None:
    with PageStore(tmp_path / "pages.sqlite") as store:
        store.put("real", 5, "capital of Nepal", PAGE)
        for engine, top_k, query in (
            ("other", 5, "capital of Nepal"),
            ("real", 4, "capital of Nepal"),
            ("real", 5, "Capital of Nepal"),
        ):
            assert store.get(engine, top_k, query) is None
        assert store.get("real", 5, " capital \n\tof  Nepal ") is not None
        assert len(list(store.rows())) == 1


halves = st.text(st.sampled_from("ab \n\0\ud83d\udfff\U0001f600"), max_size=8)  # half characters too
texts = halves | st.text(max_size=20)


def joined(text: str) -> str:
    """Two halves side by side are the character that they spell; a half alone stays what it is."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


@given(texts, texts, st.lists(st.builds(Document, texts, texts, texts), max_size=3))
def test_any_text_survives(engine: str, query: str, documents: list[Document]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, PageStore(Path(folder) / "pages.sqlite") as store:
        store.put(engine, 3, query, SearchPage(tuple(documents), engine))
        found = store.get(engine, 3, query)
        assert found is not None
        expected = tuple(Document(joined(d.title), joined(d.text), joined(d.id)) for d in documents)
        assert found.documents == expected
        assert [(row.query, row.documents) for row in store.rows()] == [(joined(normalise_query(query)), expected)]


@given(texts)
def test_normalising_twice_changes_nothing(query: str) -> None:
    once = normalise_query(query)
    assert normalise_query(once) == once
    assert once == once.strip()


def test_two_processes_that_write_a_new_file_at_once_lose_no_page(tmp_path: Path) -> None:
    path = tmp_path / "pages.sqlite"
    writers = [start_writer(path, name, 60) for name in ("left", "right")]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    with PageStore(path) as store:
        assert len(list(store.rows())) == 120
        for name in ("left", "right"):
            found = store.get("real", 5, f"query 59 of {name}")
            assert found is not None
            assert found.documents[0].title == f"{name} 59"


def test_a_file_that_another_process_is_just_making_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pages.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        other.execute("COMMIT")

    monkeypatch.setattr(page_store.time, "sleep", wait)
    with PageStore(path, busy_seconds=5.0) as store:
        store.put("real", 5, "q", PAGE)
    assert len(waits) == 1
    other.close()


def test_two_that_find_the_file_empty_make_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "pages.sqlite"
    switch = PageStore._switch_to_log
    stores: list[PageStore] = []

    def another_is_first(self: PageStore, db: sqlite3.Connection) -> None:
        monkeypatch.setattr(PageStore, "_switch_to_log", switch)
        stores.append(PageStore(path))
        stores[0].put("real", 5, "q", PAGE)
        switch(self, db)

    monkeypatch.setattr(PageStore, "_switch_to_log", another_is_first)
    with PageStore(path) as store, stores[0]:
        assert store.get("real", 5, "q") is not None


def test_a_kill_while_pages_are_written_leaves_every_page_that_was_recorded(tmp_path: Path) -> None:
    path = tmp_path / "pages.sqlite"
    writer = start_writer(path, "killed", 1_000_000)
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()
    last = [int(writer.stdout.readline()) for _ in range(20)][-1]
    writer.send_signal(signal.SIGKILL)
    writer.communicate(timeout=60)
    assert writer.returncode == -signal.SIGKILL
    with PageStore(path) as store:
        rows = list(store.rows())
        assert len(rows) > last
        assert all(len(row.documents) == 5 and len(row.documents[4].text) == 2000 for row in rows)
        store.put("real", 5, "after the kill", PAGE)
        assert store.get("real", 5, "after the kill") is not None
    with closing(sqlite3.connect(path)) as check:
        assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_threads_share_a_store(tmp_path: Path) -> None:
    with PageStore(tmp_path / "pages.sqlite") as store:

        def write(name: str) -> None:
            for number in range(30):
                store.put("real", 5, f"{name} {number}", PAGE)
                assert store.get("real", 5, f"{name} {number}") is not None

        threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(list(store.rows())) == 120


def test_a_reader_is_not_held_up_by_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "pages.sqlite"
    with PageStore(path) as store:
        store.put("real", 5, "q", PAGE)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with PageStore(path, readonly=True, busy_seconds=0.0) as reader:
                assert reader.get("real", 5, "q") is not None


def test_a_file_that_another_process_holds_too_long_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "pages.sqlite"
    with PageStore(path, busy_seconds=0.01) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(RunError, match=r"could not be recorded .*another process has held it for 0\.01 s"):
                store.put("real", 5, "q", PAGE)
        store.put("real", 5, "q", PAGE)


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with PageStore(tmp_path / "pages.sqlite") as store:
        store.put("real", 5, "small", PAGE)
        limit = store._use("write", lambda db: db.execute("PRAGMA max_page_count = 4").fetchone()[0])
        huge = SearchPage((Document("t", "x" * 4096 * (limit + 4)),), "real")
        with pytest.raises(RunError, match=r"could not be recorded \(database or disk is full\); the pages before it"):
            store.put("real", 5, "large", huge)
        assert store.get("real", 5, "small") is not None


@pytest.mark.parametrize("readonly", [False, True])
def test_a_file_of_another_schema_version_is_refused(tmp_path: Path, readonly: bool) -> None:
    path = tmp_path / "pages.sqlite"
    with PageStore(path) as store:
        store._use("write", lambda db: db.execute(f"PRAGMA user_version = {page_store.SCHEMA_VERSION + 1}"))
    with pytest.raises(DataError, match=r"schema version 3, this release uses 2: choose another file"):
        PageStore(path, readonly=readonly)


def test_a_database_of_somebody_else_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "notes.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (text TEXT)")
    before = path.read_bytes()
    with pytest.raises(DataError, match="not one of recorded pages"):
        PageStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "readonly", "said"),
    [
        ("text", False, "no file of recorded pages"),
        ("", False, "cannot be used"),
        ("gone", True, "no such file"),
        ("text/pages", False, "cannot be opened"),
    ],
)
def test_what_is_no_database_is_refused(tmp_path: Path, name: str, readonly: bool, said: str) -> None:
    (tmp_path / "text").write_text("a page, " * 500)
    with pytest.raises(DataError, match=said) as caught:
        PageStore(tmp_path / name, readonly=readonly)
    assert "\n" not in str(caught.value)


def test_a_damaged_row_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "pages.sqlite"
    with PageStore(path) as store:
        store.put("real", 5, "q", PAGE)
        store._use("write", lambda db: db.execute("UPDATE pages SET documents = '[1]'"))
        with pytest.raises(DataError, match=r"pages\.sqlite: holds a row that is no recorded page"):
            store.get("real", 5, "q")


def test_a_store_that_nobody_holds_any_more_folds_its_log_into_the_file(tmp_path: Path) -> None:
    """So that a copy of the one file holds every page."""
    path = tmp_path / "pages.sqlite"
    store = PageStore(path)
    store.put("real", 5, "q", PAGE)
    assert [p.name for p in sorted(tmp_path.iterdir())] != ["pages.sqlite"]
    del store
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["pages.sqlite"]


def test_a_finished_file_in_a_folder_that_cannot_be_written_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "pages.sqlite"
    with PageStore(path) as store:
        store.put("real", 5, "q", PAGE)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere: chmod would not show it
    with PageStore(path, readonly=True) as reader:
        assert reader.get("real", 5, "q") is not None
        assert [p.name for p in tmp_path.iterdir()] == ["pages.sqlite"]
