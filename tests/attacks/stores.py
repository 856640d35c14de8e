"""What is stored, read or changed by whoever stores it; and ledgers that are rewritten.

A store has all ciphertext and no key. It answers what it likes. Below, objects stand in memory; what a reader does is the
same over every store.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from paddock.crypto import streaming
from paddock.crypto.signing import SigningKey
from paddock.crypto.streaming import StreamKey, derive
from paddock.enclave.checkpoints import RunCheckpoints
from paddock.enclave.events import EventWriter
from paddock.enclave.launch import CheckpointHint
from paddock.errors import (
    CheckpointRefused,
    ManifestMismatch,
    ObjectSwapped,
    ObjectTruncated,
    ProofRefused,
    RunCheckpointRefused,
    SegmentChanged,
    SegmentMisplaced,
    TreeChanged,
)
from paddock.hub.events import read_checkpoint as read_checkpoint_event
from paddock.ledger import checkpoint as ledger_checkpoint
from paddock.ledger import merkle
from paddock.ledger.checkpoint import Checkpoint, accept_newer, read_checkpoint, sign_checkpoint
from paddock.seal import DataKey, SealOptions, VolumeReader, in_order, reader, stream, write_volume
from paddock.seal import tree as tree_hashes
from paddock.seal.reader import read_manifest
from paddock.testing.stores import LyingStore, MemoryStore
from tests.attacks.catalogue import NOTHING, Actor, Outcome, Residual, at_all_levels, attack, remains
from tests.attacks.ground import Ground
from tests.attacks.switches import both, instead, without
from tests.fixtures.cast import NAMES, RUN, secret

KEY = DataKey(secret("the data key of a volume"))
OTHER_KEY = DataKey(secret("the data key of another volume"))
MARKER = b"31.415926535897"
OTHER_RUN = "f" * 32
FILES = {"patients.csv": b"name,weight,sick\n" + b"\n".join(b"%06d,%s,0" % (n, MARKER) for n in range(900)) + b"\n"}
SMALL = SealOptions(segment_bytes=4096, padding="none")


def _stored(files: dict[str, bytes] | None = None, key: DataKey = KEY, store: MemoryStore | None = None) -> Any:
    held = MemoryStore() if store is None else store
    return held, write_volume(in_order(files or FILES), key, held, options=SMALL)


def _changed(held: MemoryStore, change: Callable[[bytes], bytes]) -> MemoryStore:
    """A store with other bytes in the place of the payload's."""
    name = next(name for name in held.objects if name.endswith("/payload"))
    other = MemoryStore()
    other.objects = {**held.objects, name: change(bytes(held.objects[name]))}
    return other


def _read(asset: str, source: Any) -> str:
    """What a job would work on; an attack has succeeded if it is not what was sealed."""
    content = VolumeReader.open(asset, source, KEY).read("patients.csv", 0, 1 << 20)
    if content == FILES["patients.csv"]:
        raise AssertionError("the store told the truth")
    first = next(
        (n for n, (a, b) in enumerate(zip(content, FILES["patients.csv"], strict=False)) if a != b), len(content)
    )
    return f"{len(content)} bytes of input that differ from byte {first} on"


class _Untagged:
    """AES-GCM without a look at its tag: what is left is counter mode."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.encrypt_into = AESGCM(key).encrypt_into

    def decrypt_into(self, nonce: bytes, data: Any, _associated: None, out: memoryview) -> None:
        counter = modes.CTR(nonce + (2).to_bytes(4, "big"))
        out[:] = Cipher(algorithms.AES(self._key), counter).decryptor().update(bytes(data)[: len(out)])


@contextmanager
def _unverified(*more: str) -> Iterator[None]:
    """Streams decrypted without a look at hash tree, tag or length: what encryption alone is worth."""
    with ExitStack() as stack:
        stack.enter_context(without(stream.SealedStream._open, "if leaf != expected:", *more))
        stack.enter_context(without(stream.HashTree._load, "if tile_hash(level, tile) != expected:"))
        stack.enter_context(instead(streaming, "AESGCM", _Untagged))
        stack.enter_context(instead(stream, "fetch", _fetch_what_comes))
        stack.enter_context(instead(reader, "check_length", lambda *_: None))
        yield


def _fetch_what_comes(source: Any, name: str, offset: int, length: int) -> bytes:
    return bytes(source.read(name, offset, length))[:length].ljust(length, b"\0")


@attack(
    "store-reads-contents",
    Actor.STORE,
    "records looked for in what is stored",
    what="The store searches every object for something that it knows to stand in the records.",
    stops="Contents, names and sizes of files are encrypted before they leave their owner's machine.",
    enforced=("seal.writer", "crypto.streaming"),
    rules=("S-6",),
    threats=(1,),
    codes=(NOTHING,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(StreamKey, "seal_segment", _not_sealed),
    residual="Padded sizes, times, and which parts are read when.",
)
def reads_contents(ground: Ground) -> str | Outcome:
    held, _ = _stored()
    found = [name for name, data in held.objects.items() if MARKER in bytes(data) or b"patients.csv" in bytes(data)]
    return f"records in {len(found)} objects" if found else Outcome.refused(NOTHING, "neither records nor file names")


def _not_sealed(_key: StreamKey, _number: int, _last: bool, plain: Any, out: memoryview) -> None:
    out[:] = bytes(plain).ljust(len(out), b"\0")


@attack(
    "store-bit-flipped",
    Actor.STORE,
    "one bit of the ciphertext turned",
    what="The store turns a bit, which in counter mode turns the same bit of a record.",
    stops="A hash tree up to the asset's id, and an authentication tag, cover every segment.",
    enforced=("seal.stream", "seal.tree"),
    rules=("S-9", "S-10"),
    threats=(2,),
    codes=(SegmentChanged,),
    claims=at_all_levels(),
    alike=True,
    off=_unverified,
)
def bit_flipped(ground: Ground) -> str:
    held, volume = _stored()
    return _read(volume.asset, _changed(held, lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:]))


@attack(
    "store-segments-reordered",
    Actor.STORE,
    "segments in another order",
    what="The store exchanges two segments of a file.",
    stops="A segment's number is in its nonce and its place in the tree.",
    enforced=("seal.stream", "crypto.streaming"),
    rules=("S-6", "S-9"),
    threats=(2,),
    codes=(SegmentMisplaced,),
    claims=at_all_levels(),
    alike=True,
    off=_unverified,
)
def segments_reordered(ground: Ground) -> str:
    held, volume = _stored()
    reordered = _changed(held, lambda data: data[:4096] + data[8192:12288] + data[4096:8192] + data[12288:])
    return _read(volume.asset, reordered)


@attack(
    "store-truncated",
    Actor.STORE,
    "an input cut short",
    what="The store leaves the end of an input away, so that the last patients are not counted.",
    stops="Lengths stand in what the asset's id commits to; other lengths are refused before anything is read.",
    enforced=("seal.reader", "seal.stream"),
    rules=("S-24",),
    threats=(2,),
    codes=(ObjectTruncated,),
    claims=at_all_levels(),
    alike=True,
    off=_unverified,
)
def truncated(ground: Ground) -> str:
    held, volume = _stored()
    return _read(volume.asset, _changed(held, lambda data: data[:-4096]))


@attack(
    "host-input-swapped",
    Actor.HOST,
    "the ciphertext of another volume in an input's place",
    what="The host gives the enclave the payload of other records under the name that it asks for.",
    stops="Each payload begins with a header that the file table names, and its tree leads to the asset's id.",
    enforced=("seal.stream",),
    rules=("S-9", "S-12"),
    threats=(2, 3),
    codes=(ObjectSwapped,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: _unverified("if stored[:HEADER_BYTES] != self._facts.header:"),
)
def input_swapped(ground: Ground) -> str:
    held, volume = _stored()
    other = {"patients.csv": FILES["patients.csv"].replace(b",0\n", b",1\n")}
    before = set(held.objects)
    _stored(other, OTHER_KEY, held)
    foreign = next(name for name in held.objects if name not in before and name.endswith("/payload"))
    return _read(volume.asset, LyingStore(held, "/payload", "swapped", instead=foreign))


@attack(
    "store-rolled-back",
    Actor.STORE,
    "an older version of an input",
    what="The store answers with the manifest of the version before, in which a withdrawn patient still stands.",
    stops="A contract names the version by the digest of its manifest.",
    enforced=("seal.reader",),
    rules=("S-3",),
    threats=(3,),
    codes=(ManifestMismatch,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(read_manifest, "if sha256_id(data) != asset:"),
)
def rolled_back(ground: Ground) -> str:
    held, older = _stored({"patients.csv": FILES["patients.csv"] + b"withdrawn,1,1\n"})
    _, newer = _stored(store=held)
    return _read(newer.asset, _manifest_swapped(held, newer.asset, older.asset))


def _manifest_swapped(held: MemoryStore, asked: str, given: str) -> LyingStore:
    name, other = (f"manifests/{each.removeprefix('sha256:')}" for each in (asked, given))
    return LyingStore(held, name, "swapped", instead=other)


@attack(
    "store-hash-tree-rewritten",
    Actor.STORE,
    "ciphertext and hash tree changed together",
    what="The store turns a bit of a segment and computes the tree above it anew.",
    stops="The root stands in what the asset's id commits to.",
    enforced=("seal.stream", "seal.tree"),
    rules=("S-10",),
    threats=(2,),
    codes=(TreeChanged, SegmentChanged),
    claims=at_all_levels(),
    alike=True,
    off=_unverified,
)
def hash_tree_rewritten(ground: Ground) -> str:
    held, volume = _stored()
    changed = _changed(held, lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:])
    payload, tree = (next(name for name in held.objects if name.endswith(end)) for end in ("/payload", "/tree"))
    leaf = tree_hashes.leaf_hash(changed.objects[payload][:4096])
    changed.objects[tree] = leaf + bytes(held.objects[tree])[len(leaf) :]
    return _read(volume.asset, changed)


@attack(
    "store-endless-manifest",
    Actor.STORE,
    "an answer that never ends",
    what="The store says that a manifest has gigabytes and sends zeros, until the enclave has no memory left.",
    stops="Lengths are bounded before the first byte is asked for.",
    enforced=("seal.reader",),
    rules=("S-3",),
    threats=(27,),
    codes=(ManifestMismatch,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(read_manifest, "if size > MAX_MANIFEST_BYTES:"),
)
def endless_manifest(ground: Ground) -> str:
    class Endless:
        """Stands for gigabytes with 64 MiB."""

        asked = 0

        def size(self, _name: str) -> int:
            return 64 << 20

        def read(self, _name: str, _offset: int, length: int) -> bytes:
            self.asked += length
            return bytes(length)

    source = Endless()
    try:
        read_manifest("sha256:" + "0" * 64, source)
    except ManifestMismatch:
        if not source.asked:
            raise
    return f"{source.asked >> 20} MiB of the enclave's memory"


# --- checkpoints of runs ---


def _checkpoints(ground: Ground, store: Any, run: str) -> tuple[RunCheckpoints, io.BytesIO]:
    told = io.BytesIO()
    parts = {name: DataKey(secret(f"part of {name} for {run}")) for name in NAMES}
    return RunCheckpoints(ground.contract(), run, parts, store, EventWriter(told)), told


@attack(
    "host-checkpoint-swapped",
    Actor.HOST,
    "a checkpoint of another run",
    what="The host resumes a run from the checkpoint of another one, which learned from other data.",
    stops="Checkpoints are sealed under a key of one run, from parts of every keeper, and say once more whose they are.",
    enforced=("enclave.checkpoints",),
    rules=("K-1", "K-2", "K-3"),
    threats=(35,),
    codes=(RunCheckpointRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: both(
        lambda: instead(RunCheckpoints, "_key", lambda *_: DataKey(derive(bytes(32), b"one key for all"))),
        lambda: without(RunCheckpoints._open, "if (about.contract, about.run)"),
    ),
    residual="The host can offer an older checkpoint of the same run: time is lost, results are the same bits.",
)
def checkpoint_swapped(ground: Ground) -> str | Outcome:
    store = MemoryStore()
    other, _ = _checkpoints(ground, store, OTHER_RUN)
    other.save("evaluation", {"training.weights": {"weights": b"of other data"}}, None)
    stored = next(name for name in store.objects if "/manifests/" in name)
    _, _, identity, _, digest = stored.split("/")
    for name in [name for name in store.objects if name.startswith(f"checkpoints/{OTHER_RUN}/")]:
        store.put(name.replace(OTHER_RUN, RUN), [store.objects[name]])
    own, told = _checkpoints(ground, store, RUN)
    resumed = own.newest([CheckpointHint(id=identity, asset=f"sha256:{digest}")])
    if resumed is None:
        return Outcome.refused(RunCheckpointRefused.code, told.getvalue().decode())
    return f"weights {resumed.made['training.weights']['weights']!r}"


@attack(
    "host-deletes-by-checkpoint",
    Actor.HOST,
    "others' objects named as one's own checkpoint",
    what="A host tells the hub of a checkpoint made of another party's volume, so that the hub deletes that one day.",
    stops="The hub takes a checkpoint's objects only below the run's own place in the store.",
    enforced=("hub.events",),
    rules=("K-7",),
    threats=(35,),
    codes=(NOTHING,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(read_checkpoint_event, "if any("),
)
def deletes_by_checkpoint(ground: Ground) -> str | Outcome:
    told = {
        "event": "checkpoint",
        "at": "2026-11-01T12:00:00Z",
        "number": 1,
        "id": "0" * 32,
        "asset": "sha256:" + "0" * 64,
        "objects": ["volumes/" + "1" * 32 + "/payload"],
    }
    taken = read_checkpoint_event(told, RUN)
    return f"{taken.objects[0]} to be deleted" if taken else Outcome.refused(NOTHING, "no checkpoint was noted")


# --- ledgers ---

HUB_KEY = SigningKey(secret("the hub's ledger"))
ORIGIN = "hub.test/ledger"


class _Ledger:
    """A ledger in memory whose owner writes into it what it likes."""

    def __init__(self, *entries: str) -> None:
        self.leaves = [merkle.leaf_hash(entry.encode()) for entry in entries]

    def subtree(self, level: int, index: int) -> bytes:
        if level == 0:
            return self.leaves[index]
        return merkle.node_hash(self.subtree(level - 1, 2 * index), self.subtree(level - 1, 2 * index + 1))

    def checkpoint(self, key: SigningKey = HUB_KEY) -> str:
        size = len(self.leaves)
        return sign_checkpoint(Checkpoint(ORIGIN, size, merkle.root(size, self.subtree)), key)


def _accepted(written: str) -> Checkpoint:
    return read_checkpoint(written, HUB_KEY.verify_key, origin=ORIGIN)


def _nothing_proved() -> Any:
    return instead(ledger_checkpoint, "verify_consistency", lambda *_: None)


_LEDGER: dict[str, Any] = {
    "enforced": ("ledger.checkpoint", "ledger.merkle"),
    "threats": (16,),
    "claims": at_all_levels(),
    "alike": True,
}


@attack(
    "hub-ledger-rolled-back",
    Actor.HUB,
    "the newest entries of a ledger taken back",
    what="The hub shows a party a ledger without the entry that it saw yesterday.",
    stops="A party keeps the newest checkpoint that it saw and takes only what continues it.",
    rules=("G-3", "G-8"),
    codes=(ProofRefused,),
    off=_nothing_proved,
    residual="Nobody compares the checkpoints of two parties by itself yet.",
    **_LEDGER,
)
def ledger_rolled_back(ground: Ground) -> str:
    seen, now = _Ledger("a", "b", "cancelled"), _Ledger("a", "b")
    accept_newer(_accepted(seen.checkpoint()), _accepted(now.checkpoint()), [])
    return "a ledger of 2 entries, where there were 3"


@attack(
    "hub-ledger-forked",
    Actor.HUB,
    "two ledgers for two parties",
    what="The hub shows one party a ledger in which a contract was cancelled, and another one a ledger in which it was not.",
    stops="Two checkpoints of one ledger have a proof of consistency, or they are two ledgers.",
    rules=("G-3", "G-8"),
    codes=(ProofRefused,),
    off=_nothing_proved,
    **_LEDGER,
)
def ledger_forked(ground: Ground) -> str:
    one, other = _Ledger("a", "b", "cancelled"), _Ledger("a", "b", "run", "receipt")
    path = merkle.consistency_path(3, 4, other.subtree)
    accept_newer(_accepted(one.checkpoint()), _accepted(other.checkpoint()), path)
    return "two histories taken for one"


@attack(
    "hub-ledger-entry-made-up",
    Actor.HUB,
    "an entry that is not in the ledger",
    what="The hub proves an entry to be in its ledger by the path of another one.",
    stops="A proof of inclusion leads from this very entry to the signed root.",
    rules=("G-2",),
    codes=(ProofRefused,),
    off=lambda: without(merkle.verify_inclusion, "if last != 0 or hash_ != expected_root:"),
    **_LEDGER,
)
def ledger_entry_made_up(ground: Ground) -> str:
    ledger = _Ledger("a", "b", "c", "d")
    root = _accepted(ledger.checkpoint()).root
    merkle.verify_inclusion(merkle.leaf_hash(b"x"), 2, 4, merkle.inclusion_path(2, 4, ledger.subtree), root)
    return "an entry that nobody wrote"


@attack(
    "hub-ledger-of-another",
    Actor.HUB,
    "a checkpoint signed by somebody else",
    what="Somebody shows a checkpoint in a keeper's name that is signed by another key.",
    stops="A checkpoint is verified by the key of the ledger's owner.",
    rules=("G-5",),
    codes=(CheckpointRefused,),
    off=lambda: instead(ledger_checkpoint, "verify_text", lambda *_: None),
    **_LEDGER,
)
def ledger_of_another(ground: Ground) -> str:
    forged = _Ledger("a").checkpoint(SigningKey(secret("another ledger")))
    return f"a ledger of {_accepted(forged).size} entry"


remains(
    Residual(
        Actor.STORE,
        "what is asked for, and when",
        "A store sees padded sizes, which segments are read when, and how much of a new version is new.",
    ),
    Residual(
        Actor.STORE, "losing what it holds", "A store can lose or withhold objects; a run then ends without results."
    ),
)
