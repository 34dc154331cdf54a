"""Pages that an engine once returned, in one SQLite file: what `cache.py` writes and `recorded.py` reads.

    with PageStore(Path("pages.sqlite")) as store:
        store.put(engine.identity, 5, "capital of Nepal", page)
        store.get(engine.identity, 5, "capital  of Nepal")      # the same query: runs of whitespace are one blank

Several processes may use a file at once (SQLite's write-ahead log), and a kill leaves it readable: a page is there
whole or not at all. After a power cut the last pages may be missing. The log needs a local disk: SQLite's locks are not
to be trusted on network file systems.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.search import Document, SearchPage
from zerosearch.errors import DataError, RunError
from zerosearch.usage import Usage

T = TypeVar("T")

SCHEMA_VERSION = 2
APPLICATION_ID = 0x7A73_7067  # "zspg": what tells this file from any other SQLite file
BUSY_SECONDS = 60.0  # a write takes milliseconds: a process that holds the file longer hangs

# Query and documents are JSON with \u escapes: SQLite's text takes no lone surrogates, and web pages hold some. (Two
# halves that stand side by side come back as the character that they spell.)
_TABLE = """
CREATE TABLE pages (
    identity TEXT NOT NULL, top_k INTEGER NOT NULL, query TEXT NOT NULL, engine TEXT NOT NULL, documents TEXT NOT NULL,
    cost_usd REAL NOT NULL, recorded_at REAL NOT NULL, PRIMARY KEY (identity, top_k, query)
)"""
_SELECT = "SELECT query, documents, engine, identity, cost_usd FROM pages"


def normalise_query(query: str) -> str:
    """The query with runs of whitespace made one blank, and none at its ends.

    Case is kept: web engines ignore most of it, but cased embedding models do not, and a page asked for under another
    spelling is better paid for twice than confused.
    """
    return " ".join(query.split())


class PageStore:
    """One file of recorded pages. Threads share a store; a forked process opens connections of its own.

    Reads go through one connection and writes through another, so that a read never waits for a write. Raises
    `DataError` for a file that is something else, or of another schema version, and where it cannot be opened.
    """

    def __init__(self, path: Path, *, readonly: bool = False, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = Path(path)
        self._readonly = readonly
        self._busy_seconds = busy_seconds
        self._locks = {"read": threading.Lock(), "write": threading.Lock()}
        self._connections: dict[tuple[int, str], sqlite3.Connection] = {}
        # SQLite folds its log into the file as the last connection closes: a file that is then copied is whole.
        weakref.finalize(self, _close, self._connections)
        if readonly and not self.path.is_file():
            raise DataError(f"{self.path}: no such file")
        if not readonly:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise DataError(f"{self.path}: cannot be opened ({error.strerror or error})") from None
        self._use("read" if readonly else "write", self._prepare)

    def __enter__(self) -> PageStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, identity: str, top_k: int, query: str) -> SearchPage | None:
        """The page of `query` (normalised here) with what it cost then, None where there is none."""

        def select(db: sqlite3.Connection) -> SearchPage | None:
            statement = f"{_SELECT} WHERE identity = ? AND top_k = ? AND query = ?"
            row = db.execute(statement, (_name(identity), top_k, _query(query))).fetchone()
            if not row:
                return None
            page = self._page(row)
            return SearchPage(page.documents, page.engine, usage=Usage(usd=row[4]))

        return self._use("read", select)

    def put(self, identity: str, top_k: int, query: str, page: SearchPage) -> None:
        """Record `page`; one that another process recorded meanwhile is replaced.

        Raises `RunError` where the disk is full or another process holds the file for longer than `busy_seconds`.
        """
        documents = json.dumps([[d.title, d.text, d.id] for d in page.documents])
        row = (_name(identity), top_k, _query(query), _name(page.engine), documents, page.usage.usd, time.time())

        def insert(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?, ?)", row)

        self._use("write", insert)

    def rows(self) -> Iterator[RecordedPage]:
        """Every page, in the order of recording."""
        rows = self._use("read", lambda db: db.execute(f"{_SELECT} ORDER BY recorded_at, rowid").fetchall())
        return map(self._page, rows)

    def close(self) -> None:
        """Close this process's connections; the store opens new ones if it is used again."""
        with self._locks["read"], self._locks["write"]:
            _close(self._connections)

    def _use(self, role: str, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._locks[role]:
            try:
                key = (os.getpid(), role)  # a connection must not cross a fork
                if key not in self._connections:
                    self._connections[key] = self._connect()
                return work(self._connections[key])
            except sqlite3.Error as error:
                raise self._error(error, role) from None

    def _connect(self) -> sqlite3.Connection:
        place: str | Path = self.path
        if self._readonly:
            place = f"{self.path.resolve().as_uri()}?mode=ro"
            if not os.access(self.path.resolve().parent, os.W_OK) and not self._log().exists():
                place += "&immutable=1"  # SQLite would want to put its lock file beside it
        # isolation_level None: every statement is its own transaction
        connection = sqlite3.connect(
            place, timeout=self._busy_seconds, isolation_level=None, check_same_thread=False, uri=self._readonly
        )
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _log(self) -> Path:
        path = self.path.resolve()
        return path.with_name(f"{path.name}-wal")

    def _prepare(self, db: sqlite3.Connection) -> None:
        application, version, tables = self._identity(db)
        if not self._readonly and (application, version, tables) == (0, 0, 0):
            self._switch_to_log(db)
            self._create(db)
            application, version, tables = self._identity(db)
        if application != APPLICATION_ID:
            raise DataError(f"{self.path}: is an SQLite file, but not one of recorded pages; choose another name")
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{self.path}: its pages have schema version {version}, this release uses {SCHEMA_VERSION}: "
                "choose another file, or keep using the release that wrote it"
            )
        if not self._readonly:
            self._switch_to_log(db)

    def _identity(self, db: sqlite3.Connection) -> tuple[int, int, int]:
        """Application id, schema version, and the number of tables and indexes."""
        questions = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        application, version, tables = (int(db.execute(question).fetchone()[0]) for question in questions)
        return application, version, tables

    def _switch_to_log(self, db: sqlite3.Connection) -> None:
        """Put the file in WAL mode. SQLite does not wait for others here, although it does everywhere else."""
        end = time.monotonic() + self._busy_seconds
        while db.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return  # a file system that cannot keep a log stays with its journal, which is as safe and slower

    def _create(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        with db:  # commits, or takes back what it began
            if self._identity(db) == (0, 0, 0):  # else another process came to the empty file at the same time
                db.execute(_TABLE)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _page(self, row: Any) -> RecordedPage:
        try:
            query, documents, engine, identity, _ = row
            found = tuple(Document(title, text, id_) for title, text, id_ in json.loads(documents))
            return RecordedPage(json.loads(query), found, engine, identity)
        except (ValueError, TypeError):
            raise DataError(f"{self.path}: holds a row that is no recorded page") from None

    def _error(self, error: sqlite3.Error, role: str) -> DataError | RunError:
        said = str(error)
        if role == "write" and ("locked" in said or "full" in said or "readonly" in said or "disk I/O" in said):
            held = f"; another process has held it for {self._busy_seconds:g} s" if "locked" in said else ""
            return RunError(f"{self.path}: a page could not be recorded ({said}){held}; the pages before it are kept")
        if "not a database" in said or "no such table" in said or "no such column" in said:
            return DataError(f"{self.path}: is no file of recorded pages ({said})")
        return DataError(f"{self.path}: cannot be used as a file of recorded pages ({said})")


def _name(engine: str) -> str:
    return engine.encode("utf-8", "backslashreplace").decode("utf-8")


def _query(query: str) -> str:
    return json.dumps(normalise_query(query))


def _close(connections: dict[tuple[int, str], sqlite3.Connection]) -> None:
    for key in [key for key in connections if key[0] == os.getpid()]:
        with contextlib.suppress(sqlite3.Error):
            connections.pop(key).close()
