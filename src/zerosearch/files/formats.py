"""Rows of a data file: JSONL, JSON, CSV, TSV or Parquet, gzipped or not, in UTF-8 or UTF-16, with any line ends.

    for where, row in read_file(Path("questions.csv")): ...     # where: "questions.csv:7"

Every complaint is a `DataError` of one line that begins with the file and, where there is one, the line.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from zerosearch.errors import DataError, install
from zerosearch.files.json_rows import array_items, json_rows, parse_json

KINDS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
ENDINGS = tuple(f"{kind}{zipped}" for kind in KINDS for zipped in ("", ".gz"))
"""Of the files that can be read."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LARGEST_CELL = 1 << 27  # characters; the csv module's own limit is 131,072


def kind_of(path: Path) -> str | None:
    """The ending that says what `path` holds, without `.gz`; None where it says nothing."""
    name = path.name.lower().removesuffix(".gz")
    return next((kind for kind in KINDS if name.endswith(kind)), None)


def stem_of(path: Path) -> str:
    """The file's name without the endings that this module knows."""
    kind = kind_of(path)
    name = path.name[:-3] if kind and path.name.lower().endswith(".gz") else path.name
    return name[: -len(kind)] if kind else name


def read_file(
    path: Path, *, is_header: Callable[[str], bool] = lambda name: True, what: str = "question file"
) -> Iterator[tuple[str, Any]]:
    """Yield `("file:line", value)` for every row, by the file's ending; `what` names the file in a complaint.

    A row of CSV or TSV is an object by the names in the first line, without its empty cells. Where `is_header` knows
    none of these names, there is no header, and each row is a list of texts, the first line too.
    """
    kind = kind_of(path)
    if kind is None:
        with reading(path):
            path.open("rb").close()  # a file that is not there is told as such
        raise DataError(f"{path}: unknown kind of {what} (use {', '.join(KINDS)}, each also as .gz)")
    if kind == ".parquet":
        return _parquet(path)
    if kind in (".csv", ".tsv"):
        return _table(path, is_header)
    if kind == ".json":
        return json_rows("".join(line for _, line in text_lines(path)), path)
    return read_jsonl(path)


def names_of(row: Iterable[Any]) -> str:
    """The names of a row's fields, for a complaint: the first dozen of them, long ones cut."""
    return ", ".join(str(name)[:40] for name in islice(row, 12)) or "none at all"


def read_jsonl(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield `("file:line", value)` for every line that is not blank; a whole JSON array is read as its items."""
    lines = ((number, line) for number, line in text_lines(path) if line.strip())
    for place, (number, line) in enumerate(lines):
        try:
            value = parse_json(line.rstrip(), path, number)
        except DataError:
            if place == 0 and line.lstrip().startswith("[") and not line.rstrip().endswith("]"):
                rest = "".join(text for _, text in text_lines(path))
                yield from array_items(rest, path)
                return
            raise
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            yield from ((f"{path}:{number}", item) for item in value)
        else:
            yield f"{path}:{number}", value


def encoding_of(head: bytes) -> str:
    """The encoding of a text file by its first bytes: by a byte order mark, or by the zeros of UTF-16."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if len(head) >= 4 and head[0] and head[2] and not head[1] and not head[3]:
        return "utf-16-le"
    if len(head) >= 4 and head[1] and head[3] and not head[0] and not head[2]:
        return "utf-16-be"
    return "utf-8"


def first_bytes(path: Path) -> bytes:
    """The first four bytes, unpacked. Raises `DataError` where the file cannot be read."""
    with reading(path), _opened(path) as file:
        return file.read(4)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, each with its newline; line ends may be those of any system.

    Raises `DataError` for what is not text in the encoding that the first bytes tell, with its line.
    """
    encoding = encoding_of(first_bytes(path))
    with reading(path), _opened(path) as file:
        # What is not text comes through as half characters, so that its line can be named.
        errors = "surrogateescape" if encoding.startswith("utf-8") else "surrogatepass"
        name = encoding.upper().removesuffix("-SIG")
        try:
            for number, line in enumerate(io.TextIOWrapper(file, encoding=encoding, errors=errors), start=1):
                if not line.isascii():
                    line.encode()
                yield number, line
        except UnicodeEncodeError as error:
            code = ord(error.object[error.start])
            what = f"byte 0x{code & 0xFF:02x}" if name == "UTF-8" else f"0x{code:04x}"
            raise DataError(
                f"{path}:{number}: not {name} text ({what} at column {error.start + 1}): save the file as UTF-8"
            ) from None
        except UnicodeError:
            raise DataError(f"{path}: not {name} text, though its first bytes say so; save it as UTF-8") from None


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.name.lower().endswith(".gz") else path.open("rb")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises `DataError`, naming `path`, for what goes wrong in the block with opening and unpacking it."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise DataError(f"{path}: is a folder, not a file") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: not a whole gzip file ({error})") from None
    except (OSError, ValueError) as error:  # ValueError: a name that holds a zero byte
        if isinstance(error, UnicodeError):
            raise
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _table(path: Path, is_header: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
    lines = text_lines(path)
    head = next(((number, line) for number, line in lines if line.strip()), None)
    if head is None:
        return
    separator = _separator(head[1])
    cells = _tab_cells if separator == "\t" else _csv_cells
    rows = cells(chain([head], lines), path, separator)
    number, first = next(rows)
    names = [name.strip() for name in first]
    headed = any([is_header(name) for name in names])
    if headed and len(set(names)) < len(names):
        raise DataError(f"{path}:{number}: two columns have one name ({names_of(names)})")
    if not headed:
        yield f"{path}:{number}", first
    for line, row in rows:
        if len(row) != len(names):
            raise DataError(f"{path}:{line}: {len(row)} columns, but the first line has {len(names)}")
        filled = {name: cell for name, cell in zip(names, row, strict=True) if cell.strip()}
        yield f"{path}:{line}", filled if headed else row


def _separator(line: str) -> str:
    """A tab wherever there is one; else the sign that the line holds most of (a comma, or Excel's semicolon)."""
    return "\t" if "\t" in line.strip() else max((",", ";", "|"), key=line.count)


def _csv_cells(lines: Iterator[tuple[int, str]], path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    first = last = 0  # lines of the row that is being read: a cell in quotes may go over several

    def feed() -> Iterator[str]:
        nonlocal first, last
        for number, line in lines:
            first, last = first or number, number
            yield line

    csv.field_size_limit(_LARGEST_CELL)
    try:
        for row in csv.reader(feed(), delimiter=separator, strict=True):
            if any(cell.strip() for cell in row):
                yield first, row
            first = 0
    except csv.Error as error:
        raise DataError(f"{path}:{first or last}: not valid CSV ({error})") from None


def _tab_cells(lines: Iterator[tuple[int, str]], path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """A line a row. A cell is in quotes only where it is so from end to end: a quotation in it is left alone."""
    for number, line in lines:
        if line.strip():
            yield number, [_unquoted(cell) for cell in line.rstrip("\n").split(separator)]


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', ""):
        return inner.replace('""', '"')
    return cell


def _parquet(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise DataError(f"{path}: reading Parquet needs pyarrow ({install('data')})") from None
    with reading(path), _opened(path) as file:
        source = pyarrow.BufferReader(file.read()) if path.name.lower().endswith(".gz") else path
    number = 0
    try:
        for batch in parquet.ParquetFile(source).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{path}: row {number}", row
    except Exception as error:  # pyarrow raises its own family for damaged files
        raise DataError(f"{path}: cannot be read as Parquet ({(str(error) or 'damaged').splitlines()[0]})") from None
