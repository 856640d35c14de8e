"""The register of a TPM that holds what runtime a host runs: what joins a host's statement to a quote of its boot.

Once in every boot the host's attester extends it, from zero, with the measurement of the runtime and its own key. PCR 13
cannot be set back without a restart; systemd's stub uses it for system extensions alone, firmware and loaders leave it at
zero.

Source: docs/spec/attestation.md §6 (A-26); TCG PC Client Platform Firmware Profile (PCRs 8 to 15 belong to the operating
system); systemd-stub(7).
"""

from __future__ import annotations

import hashlib

from paddock.crypto.canonical import canonical

RUNTIME_BANK, RUNTIME_PCR = "sha256", 13
RUNTIME_REGISTER = f"{RUNTIME_BANK}:{RUNTIME_PCR}"
"""Its name among the registers of a quote."""
EMPTY = bytes(32)


def runtime_event(measurement: str, key: str) -> bytes:
    """The 32 bytes that the register is extended with.

    Args:
        measurement: of the runtime, `sha256:…`.
        key: the host's public key, 64 hex digits.
    """
    return hashlib.sha256(
        b"paddock/runtime-register/v1\0" + canonical({"key": key, "measurement": measurement})
    ).digest()


def runtime_register(measurement: str, key: str) -> bytes:
    """What the register holds after that, and after nothing else."""
    return hashlib.sha256(EMPTY + runtime_event(measurement, key)).digest()
