"""Which documents came before, for any number of documents in little memory."""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path


class Duplicates:
    """The texts that were seen so far, as 128-bit hashes in a database file."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        database.execute("CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID")

    def find(self, documents: Iterable[str | None]) -> frozenset[int]:
        """The places of those documents whose text, apart from white space around it, was seen before; now all are."""
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
    """A database at a path where nothing is, for as long as it is needed."""
    with closing(sqlite3.connect(path)) as database:
        # Nothing of it has to survive a crash: the next run reads the input from its beginning.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -65536"):
            database.execute(f"PRAGMA {pragma}")
        yield Duplicates(database)
    path.unlink()
