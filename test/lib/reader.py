#!/usr/bin/env python3
"""Readers of a SQLite file that is being refreshed, for the tests.

    reader.py FILE KIND...

A process per KIND reads over and over, in one transaction each time, the
numbers of a generation, and checks that they are those of one and the same:

    fresh   opens the file anew each time, read-only, and has it closed for a
            while in between
    kept    keeps one ordinary connection open for all reads
    wal     the same, and puts the file into WAL mode first

Prints "ready" when each has read once.  When standard input ends, each reads
once more; then it prints a line per reader, "KIND READS LAST REFUSED", and
what was wrong.  LAST is the generation last seen, REFUSED the number of times
that SQLite would not read: locked, or a journal that only a writer may roll
back.
"""
import os
import select
import sqlite3
import sys
from urllib.parse import quote

REFUSED = ("locked", "readonly", "unable to open")


def rows_of(generation):
    """As many rows as the test's source has in this generation."""
    return 2000 + generation % 7 * 100


class Reader:
    def __init__(self, path, kind):
        self.path, self.kind = path, kind
        self.connection = None
        self.reads = self.refused = self.last = 0
        self.wrong = []

    def connect(self):
        if self.kind == "fresh":
            return sqlite3.connect(f"file:{quote(self.path)}?mode=ro", uri=True, isolation_level=None, timeout=10)
        if self.connection is None:
            self.connection = sqlite3.connect(self.path, isolation_level=None, timeout=10)
            if self.kind == "wal":
                self.connection.execute("PRAGMA journal_mode = WAL")
        return self.connection

    def read(self):
        try:
            connection = self.connect()
            try:
                connection.execute("BEGIN")
                first = connection.execute("SELECT count(*), min(gen), max(gen), sum(v), sum(id) FROM g").fetchone()
                again = connection.execute("SELECT count(*), min(gen), max(gen), sum(v), sum(id) FROM g NOT INDEXED").fetchone()
                connection.execute("COMMIT")
            finally:
                if self.kind == "fresh":
                    connection.close()
                elif connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if any(word in str(error) for word in REFUSED):
                self.refused += 1
            else:
                self.wrong.append(str(error))
            return False
        except sqlite3.DatabaseError as error:
            self.wrong.append(str(error))
            return False
        count, low, high, values, ids = first
        rows = rows_of(high or 0)
        self.reads += 1
        if first != again:
            self.wrong.append(f"two reads of one transaction: {first} and {again}")
        if low != high or count != rows or values != high * rows * (rows + 1) // 2 or ids != rows * (rows + 1) // 2:
            self.wrong.append(f"no generation: {first}")
        if high is not None and high < self.last:
            self.wrong.append(f"generation {high} after {self.last}")
        self.last = high or self.last
        return True


def run(path, kind, ready):
    reader = Reader(path, kind)
    while not reader.read():
        pass
    os.write(ready, b".")
    while not select.select([0], [], [], 0.005 if kind == "fresh" else 0)[0]:
        reader.read()
    while not reader.read() and not reader.wrong:
        pass
    sys.stdout.write("".join(f"{line}\n" for line in [
        f"{kind} {reader.reads} {reader.last} {reader.refused}", *reader.wrong[:5]]))
    sys.stdout.flush()


def main(path, *kinds):
    ready, tell = os.pipe()
    children = []
    for kind in kinds:
        child = os.fork()
        if child == 0:
            run(path, kind, tell)
            os._exit(0)
        children.append(child)
    count = 0
    while count < len(kinds):
        count += len(os.read(ready, 100))
    print("ready", flush=True)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
