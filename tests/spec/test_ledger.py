"""One test per rule of docs/spec/ledger.md; each tries to break its rule."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, MetaData, create_engine
from sqlalchemy.exc import IntegrityError

from paddock import ledger
from paddock.crypto.signing import SigningKey
from paddock.errors import CheckpointRefused, LedgerRangeRefused, ProofRefused
from paddock.ledger import log, merkle
from paddock.ledger.schema import define_tables, leaves

ORIGIN = "hub.example/ledger"


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    metadata = MetaData()
    define_tables(metadata)
    metadata.create_all(engine)
    with engine.connect() as opened:
        log.start(opened)
        opened.commit()
        yield opened
    engine.dispose()


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey(bytes(range(32)))


def _fill(connection: Connection, count: int) -> list[bytes]:
    entries = [f"entry {number}".encode() for number in range(count)]
    for entry in entries:
        log.append(connection, entry)
    connection.commit()
    return entries


def test_g1_a_node_cannot_be_passed_off_as_an_entry(connection: Connection, key: SigningKey) -> None:
    first, second, *_ = _fill(connection, 4)
    seen = ledger.read_checkpoint(log.checkpoint(connection, key, ORIGIN), key.verify_key, origin=ORIGIN)
    forged = merkle.leaf_hash(first) + merkle.leaf_hash(second)
    path = log.inclusion(connection, 0, 4)[1:]
    with pytest.raises(ProofRefused):
        ledger.verify_inclusion(ledger.leaf_hash(forged), 0, 2, path, seen.root)
    assert hashlib.sha256(b"\x01" + forged).digest() == merkle.node_hash(forged[:32], forged[32:])


def test_g2_a_changed_proof_of_inclusion_is_refused(connection: Connection, key: SigningKey) -> None:
    entries = _fill(connection, 11)
    root = ledger.read_checkpoint(log.checkpoint(connection, key, ORIGIN), key.verify_key, origin=ORIGIN).root
    for index, entry in enumerate(entries):
        path, leaf = log.inclusion(connection, index, 11), ledger.leaf_hash(entry)
        ledger.verify_inclusion(leaf, index, 11, path, root)
        bad: list[tuple[bytes, int, int, list[bytes]]] = [
            (leaf, index, 11, path[:-1]),
            (leaf, index, 11, [*path, bytes(32)]),
            (leaf, index, 11, [bytes(32), *path[1:]]),
            (leaf, index, 11, [path[0][:-1], *path[1:]]),
            (ledger.leaf_hash(b"another"), index, 11, path),
            (leaf, (index + 1) % 11, 11, path),
            (leaf, 11, 11, path),
            (leaf, -1, 11, path),
        ]
        for arguments in bad:
            with pytest.raises(ProofRefused):
                ledger.verify_inclusion(*arguments, root)


def test_g3_a_changed_proof_of_consistency_is_refused(connection: Connection) -> None:
    entries = _fill(connection, 13)
    roots = [_naive_root(entries[:count]) for count in range(14)]
    for first in range(14):
        for second in range(first, 14):
            path = log.consistency(connection, first, second)
            ledger.verify_consistency(first, second, roots[first], roots[second], path)
            with pytest.raises(ProofRefused):
                ledger.verify_consistency(first, second, roots[first], roots[second], [*path, bytes(32)])
            with pytest.raises(ProofRefused):
                ledger.verify_consistency(first, second, bytes(32), roots[second], path)
            if 0 < first < second:
                with pytest.raises(ProofRefused):
                    ledger.verify_consistency(first, second, roots[first], bytes(32), path)
                with pytest.raises(ProofRefused):
                    ledger.verify_consistency(first, second, roots[first], roots[second], path[:-1])
            if first < second:
                with pytest.raises(ProofRefused):
                    ledger.verify_consistency(second, first, roots[second], roots[first], path)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("\n3\n", "\n03\n"),
        lambda note: note.replace("\n3\n", "\n+3\n"),
        lambda note: note.replace("\n3\n", "\n3 \n"),
        lambda note: note.replace("\n\n", "\nextension line\n\n"),
        lambda note: note.replace("\n\n", "\n"),
        lambda note: note.replace("\n", "\r\n"),
        lambda note: note[:-1],
        lambda note: note + "\n",
        lambda note: note.split("\n\n")[0] + "\n\n",
        lambda note: note.replace("\u2014 ", "- "),
        lambda note: note.replace("=\n\n", "\n\n"),
        lambda note: note + "\u2014 somebody AAAA\n",
        lambda note: note + "\u2014 some body AAAAAAAA\n",
        lambda note: note.replace(ORIGIN, "", 1),
        lambda note: note + "\u2014 padding AAAAAAAA\n" * 64,
        lambda note: note + "x" * (1 << 16),
        lambda note: "",
    ],
)
def test_g4_a_checkpoint_in_another_form_is_refused(connection: Connection, key: SigningKey, change: object) -> None:
    _fill(connection, 3)
    note = log.checkpoint(connection, key, ORIGIN)
    assert callable(change)
    changed = change(note)
    assert changed != note
    with pytest.raises(CheckpointRefused):
        ledger.read_checkpoint(changed, key.verify_key, origin=ORIGIN)


def test_g5_a_checkpoint_by_another_key_or_ledger_is_refused(connection: Connection, key: SigningKey) -> None:
    _fill(connection, 3)
    stranger = SigningKey.generate()
    note = log.checkpoint(connection, key, ORIGIN)
    with pytest.raises(CheckpointRefused):
        ledger.read_checkpoint(note, stranger.verify_key, origin=ORIGIN)
    with pytest.raises(CheckpointRefused):
        ledger.read_checkpoint(note, key.verify_key, origin="other.example/ledger")
    with pytest.raises(CheckpointRefused):
        ledger.read_checkpoint(note.replace("\n3\n", "\n4\n"), key.verify_key, origin=ORIGIN)
    # Right key id, wrong signature.
    text, _, lines = note.partition("\n\n")
    forged = log.checkpoint(connection, key, ORIGIN).replace("\n3\n", "\n2\n").partition("\n\n")[0]
    with pytest.raises(CheckpointRefused):
        ledger.read_checkpoint(f"{forged}\n\n{lines}", key.verify_key, origin=ORIGIN)
    assert text != forged

    seen = datetime(2027, 1, 1, 12, tzinfo=UTC)
    witnessed = ledger.cosign_checkpoint(note, stranger, "witness.example", at=seen)
    twice = ledger.cosign_checkpoint(witnessed, SigningKey.generate(), "another.example", at=seen)
    assert ledger.read_checkpoint(twice, key.verify_key, origin=ORIGIN).size == 3
    assert ledger.cosigned_at(twice, stranger.verify_key, "witness.example") == seen
    with pytest.raises(CheckpointRefused):
        ledger.cosigned_at(note, stranger.verify_key, "witness.example")
    with pytest.raises(CheckpointRefused):
        ledger.cosigned_at(twice.replace("\n3\n", "\n4\n"), stranger.verify_key, "witness.example")


def test_g6_what_is_rolled_back_is_not_in_the_ledger(connection: Connection, key: SigningKey) -> None:
    _fill(connection, 5)
    before = log.checkpoint(connection, key, ORIGIN)
    for number in range(9):
        log.append(connection, b"undone %d" % number)
    connection.rollback()
    assert log.checkpoint(connection, key, ORIGIN) == before
    assert log.append(connection, b"kept") == 5


def test_g7_an_entry_is_never_overwritten_and_unknown_sizes_are_refused(connection: Connection) -> None:
    _fill(connection, 5)
    with pytest.raises(IntegrityError):
        connection.execute(leaves.insert().values(number=2, leaf=b"another"))
    connection.rollback()
    for index, count in ((0, 6), (5, 5), (-1, 5), (0, 0)):
        with pytest.raises(LedgerRangeRefused):
            log.inclusion(connection, index, count)
    for first, second in ((0, 6), (4, 3), (-1, 3)):
        with pytest.raises(LedgerRangeRefused):
            log.consistency(connection, first, second)
    with pytest.raises(LedgerRangeRefused):
        log.leaf_at(connection, 5)


def test_g8_a_rolled_back_or_forked_ledger_is_refused(connection: Connection, key: SigningKey) -> None:
    entries = _fill(connection, 5)
    read = lambda note: ledger.read_checkpoint(note, key.verify_key, origin=ORIGIN)  # noqa: E731
    seen = read(log.checkpoint(connection, key, ORIGIN))
    log.append(connection, b"more")
    newer = read(log.checkpoint(connection, key, ORIGIN))
    ledger.accept_newer(seen, newer, log.consistency(connection, 5, 6))
    ledger.accept_newer(newer, newer, [])
    with pytest.raises(ProofRefused):
        ledger.accept_newer(newer, seen, [])
    fork = ledger.Checkpoint(ORIGIN, 5, _naive_root([*entries[:-1], b"another"]))
    with pytest.raises(ProofRefused):
        ledger.accept_newer(seen, fork, [])
    with pytest.raises(ProofRefused):
        ledger.accept_newer(fork, newer, log.consistency(connection, 5, 6))
    with pytest.raises(CheckpointRefused):
        ledger.accept_newer(seen, ledger.Checkpoint("other.example", 6, newer.root), [])


def _naive_root(entries: list[bytes]) -> bytes:
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    half = 1
    while half * 2 < len(entries):
        half *= 2
    return hashlib.sha256(b"\x01" + _naive_root(entries[:half]) + _naive_root(entries[half:])).digest()
