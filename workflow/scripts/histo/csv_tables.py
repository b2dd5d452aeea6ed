"""Read CSV tables that come from users: labels, sample submissions, slides. Tolerant where the meaning is clear."""

import csv
import io
import re
from collections.abc import Iterator

from histo.errors import InputError

SHA1 = re.compile(r"[0-9A-Fa-f]{40}")
LONGEST_ID = 40  # ASCII characters


def parse_csv(where: str, data: bytes, columns: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, values of `columns`) of the CSV text in `data`.

    A byte order mark, CRLF, quotes, blank lines, further columns and any order of columns are accepted. For anything
    else, raises InputError, whose message begins with `where` and names the line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: expected UTF-8 text, found other bytes ({error}). Save it as CSV UTF-8.") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    header: list[str] | None = None
    positions: list[int] = []
    try:
        for row in reader:
            values = [value.strip() for value in row]
            if not any(values):
                continue
            if header is None:
                header = [value.lower() for value in values]
                if any(header.count(column) != 1 for column in columns):
                    raise InputError(
                        f"{where}: expected the columns {', '.join(columns)}, found {', '.join(header)[:200]}. "
                        "The first line must name the columns, separated by commas."
                    )
                positions = [header.index(column) for column in columns]
            elif len(values) != len(header):
                raise InputError(
                    f"{where}, line {reader.line_num}: expected {len(header)} values, found {len(values)}. "
                    "Fix the line."
                )
            else:
                yield reader.line_num, [values[position] for position in positions]
    except csv.Error as error:
        raise InputError(f"{where}, line {reader.line_num}: not CSV ({error}). Fix the line.") from None
    if header is None:
        raise InputError(f"{where}: expected the columns {', '.join(columns)}, found an empty file.")


def normal_id(text: str) -> str:
    """Return the id in the form used for comparisons: a SHA-1 in lower case, any other id unchanged."""
    return text.lower() if SHA1.fullmatch(text) else text


def check_id(where: str, text: str) -> str:
    """Return the normal form of an id; InputError unless it can be a file name of 1 to 40 ASCII characters."""
    valid = 0 < len(text) <= LONGEST_ID and text.isascii() and text.isprintable() and not re.search(r"[/\\]", text)
    if not valid or text in (".", ".."):
        raise InputError(f"{where}: expected an id of 1 to {LONGEST_ID} ASCII characters, found {text[:80]!r}.")
    return normal_id(text)
