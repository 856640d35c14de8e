"""Who can see what: tried, not asserted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from paddock.crypto.digest import unb64
from paddock.errors import PaddockError
from paddock.party.party import Party
from paddock.receipt import OutputReceipt, VerifiedReceipt, wrap_purpose
from paddock.seal import DataKey, VolumeReader

OPEN, SEALED = "open", "sealed"
_BLOCK_BYTES = 1 << 20


def inputs(parties: Mapping[str, Party], named: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """For each input (name to asset id), whether each party's home can open it."""
    return {name: {who: _opens_own(party, asset) for who, party in parties.items()} for name, asset in named.items()}


def outputs(parties: Mapping[str, Party], verified: VerifiedReceipt) -> dict[str, dict[str, str]]:
    """For each output of a verified receipt, whether each party's keys open it: every wrapped key is tried."""
    receipt = verified.receipt
    return {
        name: {
            who: _opens_output(party, output, wrap_purpose(verified.contract.id, receipt.run, name))
            for who, party in parties.items()
        }
        for name, output in receipt.outputs.items()
    }


def holds_any(folder: Path, markers: Iterable[bytes]) -> str:
    """Whether any file below an operator's folder holds one of these pieces of plaintext."""
    wanted = list(markers)
    longest = max(len(marker) for marker in wanted)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                tail = b""
                while block := file.read(_BLOCK_BYTES):
                    if any(marker in tail + block for marker in wanted):
                        return OPEN
                    tail = block[-longest:]
    return SEALED


def _opens_own(party: Party, asset: str) -> str:
    try:
        own = party.assets.find(asset)
        VolumeReader.open(asset, party.store(), own.data_key(party.home.keys.seal)).paths()
    except PaddockError:
        return SEALED
    return OPEN


def _opens_output(party: Party, output: OutputReceipt, purpose: str) -> str:
    for text in output.to.values():
        try:
            key = DataKey.unwrap(unb64(text), party.home.keys.seal, output.asset, purpose)
            VolumeReader.open(output.asset, party.store(), key).paths()
        except PaddockError:
            continue
        return OPEN
    return SEALED
