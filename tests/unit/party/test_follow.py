"""Following a run: which numbers a receipt speaks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from paddock.crypto.digest import b64
from paddock.crypto.identity import PrivateKeys
from paddock.party import follow
from paddock.receipt.progress import ProgressMessage


def test_numbers_from_before_a_new_beginning_are_kept_as_unproven(monkeypatch: Any) -> None:
    keys = PrivateKeys.generate()
    party: Any = SimpleNamespace(home=SimpleNamespace(keys=keys, fingerprint=keys.public().fingerprint()))
    seen = follow.Followed("0" * 32, "sha256:" + "0" * 64)

    def opened(*_: object, sequence: int, **__: object) -> ProgressMessage:
        return SimpleNamespace(sequence=sequence)  # type: ignore[return-value]

    monkeypatch.setattr(follow, "open_progress", opened)
    sealed = [{"to": party.home.fingerprint, "data": b64(b"x")}]

    def tell(event: dict[str, Any]) -> object:
        return follow._item(party, seen, event)

    booted = {"event": "phase", "phase": "booted", "at": "", "detail": {}}
    tell(booted)
    for sequence in (0, 1):
        assert tell({"event": "progress", "sequence": sequence, "sealed": sealed}) is not None
    tell(booted)
    assert tell({"event": "progress", "sequence": 0, "sealed": sealed}) is not None
    assert (len(seen.unproven), len(seen.messages)) == (2, 1)
