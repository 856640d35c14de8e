"""The durable log: entries and subtree hashes in tables of the caller's database, within the caller's transaction.

What a service acknowledges and what its ledger says are thereby one commit (G-6). An append reads and writes about
two rows besides the entry; a checkpoint or proof reads as many as the tree is high.

Source: docs/spec/ledger.md §4 (G-6, G-7).
"""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from paddock.crypto.signing import SigningKey
from paddock.errors import LedgerRangeRefused
from paddock.ledger import merkle
from paddock.ledger.checkpoint import Checkpoint, sign_checkpoint
from paddock.ledger.schema import head, leaves, subtrees

MAX_LEAF_BYTES = 1 << 16
_HEAD = 1


def start(connection: Connection) -> None:
    """Write the head row of an empty ledger; called once, by the migration that creates the tables."""
    connection.execute(insert(head).values(id=_HEAD, size=0))


def append(connection: Connection, leaf: bytes) -> int:
    """Append one entry; it is there once the caller's transaction is committed, and not otherwise (G-6).

    Args:
        connection: in a writing transaction.
        leaf: the entry, at most 65,536 bytes; public.

    Returns:
        Its index.
    """
    if len(leaf) > MAX_LEAF_BYTES:
        raise ValueError("an entry of the ledger is too long")
    # The head row is locked first: two writers cannot both take the same index (G-7).
    connection.execute(update(head).where(head.c.id == _HEAD).values(size=head.c.size + 1))
    index = size(connection) - 1
    connection.execute(insert(leaves).values(number=index, leaf=leaf))  # G-7: a primary key, so never overwritten.
    hashes = merkle.completed(index, merkle.leaf_hash(leaf), lambda level, n: _subtree(connection, level, n))
    rows = [{"level": level, "number": index >> level, "hash": each} for level, each in enumerate(hashes)]
    connection.execute(insert(subtrees), rows)
    return index


def size(connection: Connection) -> int:
    """How many entries the ledger has."""
    count: int = connection.execute(select(head.c.size).where(head.c.id == _HEAD)).scalar_one()
    return count


def leaf_at(connection: Connection, index: int) -> bytes:
    """The entry at `index`.

    Raises:
        LedgerRangeRefused: there is none.
    """
    _check(0 <= index < size(connection))
    leaf: bytes = connection.execute(select(leaves.c.leaf).where(leaves.c.number == index)).scalar_one()
    return leaf


def checkpoint(connection: Connection, signing_key: SigningKey, origin: str) -> str:
    """The signed checkpoint of the ledger as it is in this transaction."""
    count = size(connection)
    return sign_checkpoint(Checkpoint(origin, count, _root(connection, count)), signing_key)


def inclusion(connection: Connection, index: int, tree_size: int) -> list[bytes]:
    """The proof that entry `index` is in the tree of `tree_size` entries.

    Raises:
        LedgerRangeRefused: the ledger has no such size, or that tree no such entry (G-7).
    """
    _check(0 <= index < tree_size <= size(connection))  # G-7
    return merkle.inclusion_path(index, tree_size, lambda level, n: _subtree(connection, level, n))


def consistency(connection: Connection, first: int, second: int) -> list[bytes]:
    """The proof that the tree of `first` entries is the beginning of that of `second`.

    Raises:
        LedgerRangeRefused: the ledger has no such sizes (G-7).
    """
    _check(0 <= first <= second <= size(connection))  # G-7
    return merkle.consistency_path(first, second, lambda level, n: _subtree(connection, level, n))


def _root(connection: Connection, count: int) -> bytes:
    return merkle.root(count, lambda level, n: _subtree(connection, level, n))


def _subtree(connection: Connection, level: int, number: int) -> bytes:
    query = select(subtrees.c.hash).where(subtrees.c.level == level, subtrees.c.number == number)
    found: bytes = connection.execute(query).scalar_one()
    return found


def _check(fits: bool) -> None:
    if not fits:
        raise LedgerRangeRefused
