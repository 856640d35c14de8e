"""`python -m paddock.views.mount`: mount one volume or draft, told in one line of JSON on standard input.

    {"asset": "sha256:…", "store": "folder:/…", "data_key": "<64 hex>", "mountpoint": "/…"}
    {"draft": "<32 hex>", "store": "folder:/…", "data_key": "<64 hex>", "mountpoint": "/…"}

The key comes over standard input because arguments and environment can be seen by others. Once the volume is mounted, one
line of JSON says so on standard output. The mount ends when standard input ends, so with the program that holds its other
side; or at SIGTERM.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import CryptoRefused, MountpointInvalid, PaddockError
from paddock.seal import DataKey, VolumeReader
from paddock.store import open_store
from paddock.views.drafts import Draft
from paddock.views.mount.device import remove_stale
from paddock.views.mount.process import harden, serve_until_signal
from paddock.views.mount.server import Mount
from paddock.views.mount.volume import READING, mount_volume
from paddock.views.mount.writable import mount_draft

_MAX_LINE = 1 << 16


def main() -> int:
    """See the module's docstring. Returns the exit code of the error tree."""
    locked = harden()
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(message)s")
    end = threading.Event()
    drafts: list[Draft] = []
    try:
        told = _told(sys.stdin.buffer.readline(_MAX_LINE))

        def start() -> Mount:
            remove_stale(told.mountpoint)
            store = open_store(told.store)
            if told.draft:
                drafts.append(draft := Draft.open(store, told.key, told.name))
                return mount_draft(draft, told.mountpoint)
            return mount_volume(VolumeReader.open(told.name, store, told.key, options=READING), told.mountpoint)

        def ready(_mount: Mount) -> None:
            threading.Thread(target=_watch, args=(end,), daemon=True).start()
            _say({"mounted": str(told.mountpoint), "memory_locked": locked})

        serve_until_signal(start, ready=ready, end=end)
        for draft in drafts:
            draft.close()  # where a program still holds files open, the mount did not end by itself
    except PaddockError as error:
        _say({"error": error.as_dict()})
        return error.exit_code
    return 0


@dataclass(frozen=True)
class _Told:
    draft: bool
    name: str
    store: str
    key: DataKey
    mountpoint: Path


def _told(line: bytes) -> _Told:
    try:
        said = json.loads(line)
        draft = "draft" in said
        words = [said[name] for name in ("draft" if draft else "asset", "store", "data_key", "mountpoint")]
        name, store, key, mountpoint = (word for word in words if isinstance(word, str))
        return _Told(draft, name, store, DataKey(bytes.fromhex(key)), Path(mountpoint))
    except (ValueError, KeyError, TypeError, CryptoRefused):
        # Not the cause: it could quote the key.
        raise MountpointInvalid("The line of JSON on standard input is not as expected.") from None


def _watch(end: threading.Event) -> None:
    # Past sys.stdin, whose lock a thread that waits there would hold when the interpreter ends.
    while os.read(0, 1 << 12):
        pass
    end.set()


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
