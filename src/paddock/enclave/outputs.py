"""Sealing outputs: every one a volume under a fresh data key that exists only here and, wrapped, in the receipt.

Source: docs/spec/receipt.md §2; docs/keys.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from paddock.contract.levels import LEVELS
from paddock.contract.signing import SignedContract
from paddock.crypto.digest import b64
from paddock.enclave.numbers import NumberControl
from paddock.errors import OutputMissing
from paddock.receipt.statement import OutputReceipt, wrap_purpose
from paddock.seal import BlobSink, DataKey, SealOptions, in_order, write_volume


def seal_outputs(
    contract: SignedContract, run: str, made: Mapping[str, Mapping[str, bytes]], sink: BlobSink
) -> dict[str, OutputReceipt]:
    """Seal each declared output to its recipients and store it. Nobody can open any until the receipt is out.

    Args:
        contract: what was signed.
        run: the run's id.
        made: `step.output` to files.
        sink: where ciphertext goes.

    Raises:
        OutputMissing: a job did not yield what the contract lists.
        NumbersRefused: more, or something else, than numbers as the level lets out (L-10).
    """
    numbers = NumberControl(contract.terms.level)
    # All are looked at before the first is stored.
    fit = {}
    for name, output in sorted(contract.terms.outputs.items()):
        if output.source not in made:
            raise OutputMissing(f"'{output.source}' was not made.")
        fit[name] = numbers.output(name, output.type, made[output.source])
    sealed = {}
    for name, output in sorted(contract.terms.outputs.items()):
        data_key = DataKey.generate()
        # L-4: the size of an output tells nothing where the level says so.
        options = SealOptions(padding="padme" if LEVELS[contract.terms.level].pads_outputs else "none")
        volume = write_volume(in_order(fit[name]), data_key, sink, options=options)
        purpose = wrap_purpose(contract.id, run, name)
        wrapped = {}
        for to in output.to:
            keys = contract.terms.parties[to].keys.public()
            wrapped[keys.fingerprint()] = b64(data_key.wrap(keys.seal, volume.asset, purpose))
        sealed[name] = OutputReceipt(asset=volume.asset, stored_bytes=volume.stored_bytes, to=wrapped)
    return sealed
