"""Find duplicate documents, for any number of documents in little memory."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path


class Duplicates:
    """The set of texts seen so far, as 128-bit hashes in a database file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID")

    def find(self, documents: Iterable[str | None]) -> frozenset[int]:
        """Add documents; returns the indices of those whose text, stripped of white space, was seen before."""
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        found = set()
        for place, document in enumerate(documents):
            if document and (content := document.strip()):
                key = hashlib.blake2b(content.encode(), digest_size=16).digest()
                if not self._database.execute(insert, (key,)).rowcount:
                    found.add(place)
        return frozenset(found)


@contextmanager
def finding_duplicates(path: Path) -> Iterator[Duplicates]:
    """Create a temporary database at a path that does not exist yet, and delete it afterwards."""
    with closing(sqlite3.connect(path)) as database:
        # The database need not survive a crash, because the next run reads the input from its beginning.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -65536"):
            database.execute(f"PRAGMA {pragma}")
        yield Duplicates(database)
    path.unlink()
