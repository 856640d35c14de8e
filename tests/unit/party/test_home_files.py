"""Small files of a home under several commands at once."""

from __future__ import annotations

import threading
from pathlib import Path

from paddock.party.catalogue import Catalogue, OwnAsset


def test_no_key_is_lost_when_several_commands_seal_at_once(tmp_path: Path) -> None:
    begin = threading.Barrier(8)

    def seal(number: int) -> None:
        begin.wait()
        for each in range(4):
            name = f"records-{number}-{each}"
            Catalogue(tmp_path).add(OwnAsset(name, "sha256:" + "0" * 64, "dataset", 1, "2026-11-01T12:00:00Z", "key"))

    threads = [threading.Thread(target=seal, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Catalogue(tmp_path).all()) == 32
