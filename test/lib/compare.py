#!/usr/bin/env python3
"""Reads SQLite files for the tests, by a library that lfsync does not use.

    compare.py rows FILE SQL
        One line per row, its values divided by tabs, each as SQLite's storage
        class and value: "integer 1", "real 0.5", "text x", "blob 00ff", "null".

    compare.py equal FILE SQL CLASS...
        Compares what SQL gives with the rows on standard input, which are
        COPY's text format, value by value and in order.  CLASS is what the
        values of a column are, unless NULL: integer, real, text or blob.
        Prints "N rows equal", or the first differences and fails.

    compare.py check FILE
        PRAGMA integrity_check and foreign_key_check: prints "ok" if both are.

A text that is not UTF-8 is an error everywhere.
"""
import re
import sqlite3
import sys
from itertools import zip_longest
from urllib.parse import quote

CLASSES = {int: "integer", float: "real", str: "text", bytes: "blob", type(None): "null"}
ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def connect(path):
    # immutable: no lock, no journal, no side file; what is tested is the file
    return sqlite3.connect(f"file:{quote(path)}?mode=ro&immutable=1", uri=True)


def storage(value):
    """The storage class of a value, and the value."""
    if value is None:
        return "null"
    if isinstance(value, bytes):
        value_text = value.hex()
    elif isinstance(value, float):
        value_text = repr(value)
    else:
        value_text = str(value)
    return f"{CLASSES[type(value)]} {value_text}"


def rows(path, sql):
    for row in connect(path).execute(sql):
        print("\t".join(storage(value) for value in row))


def copy_value(field, storage_class):
    """A field of COPY's text format as the value that SQLite should give."""
    if field == rb"\N":
        return None
    text = re.sub(rb"\\(.)", lambda m: ESCAPES.get(m[1], m[1]), field, flags=re.S).decode()
    if storage_class == "integer":
        return int(text)
    if storage_class == "real":
        return float(text)
    if storage_class == "blob":
        if not text.startswith("\\x"):
            raise ValueError(f"not bytea in hex: {text[:20]}")
        return bytes.fromhex(text[2:])
    return text


def equal(path, sql, *classes):
    # Only a line feed ends a line: text may hold U+0085 and its like.
    lines = sys.stdin.buffer.read().split(b"\n")
    if lines.pop() != b"":
        raise ValueError("the last line is not complete")
    count = differences = 0
    for line, found in zip_longest(lines, connect(path).execute(sql)):
        count += 1
        expected = None
        if line is not None:
            fields = line.split(b"\t")
            if len(fields) != len(classes):
                raise ValueError(f"{len(fields)} fields and {len(classes)} classes")
            expected = tuple(map(copy_value, fields, classes))
        # as text, so that 1 is not 1.0, -0.0 is not 0.0, and NaN is NaN
        if found is None or expected is None or list(map(storage, expected)) != list(map(storage, found)):
            differences += 1
            if differences <= 5:
                print(f"row {count}: expected {expected!r:.2000}\nrow {count}:      got {found!r:.2000}")
    if differences:
        print(f"{differences} of {count} rows differ")
        sys.exit(1)
    print(f"{count} rows equal")


def check(path):
    connection = connect(path)
    found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    found += [f"foreign key: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
    print("\n".join(["ok"] if found == ["ok"] else found))


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    {"rows": rows, "equal": equal, "check": check}[sys.argv[1]](*sys.argv[2:])
