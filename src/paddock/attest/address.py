"""How attesters are named: `tsm`, `gramine:/dev/attestation`, `tsm+gpu-0=nvidia:0+host=tpm`, `auto`, `none`.

The first is the environment's own; what follows stands beside it under the label that it names. All pieces carry the
same report data.

Source: docs/spec/attestation.md §3 (A-16).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from types import MappingProxyType

from paddock.attest.attester import Attester
from paddock.errors import AttesterUnavailable
from paddock.evidence.claims import ENVIRONMENT, LABELS, EvidenceSet, UnverifiedEvidence

NONE, AUTO = "none", "auto"
SCHEMES: Mapping[str, str] = MappingProxyType(
    {
        "gramine": "paddock.attest.gramine:GramineAttester",
        "occlum": "paddock.attest.occlum:OcclumAttester",
        "nsm": "paddock.attest.nsm:NsmAttester",
        "tsm": "paddock.attest.tsm:TsmAttester",
        "sev-guest": "paddock.attest.sev_guest:SevGuestAttester",
        "host": "paddock.attest.host:HostAttester",
        "tpm": "paddock.attest.tpm:TpmAttester",
        "nvidia": "paddock.attest.nvidia:NvidiaAttester",
        "unix": "paddock.attest.unix:UnixAttester",
        "loopback": "paddock.attest.loopback:LoopbackAttester",
    }
)
"""Where each is; those that prove most stand first."""
_BESIDE = re.compile(r"\+(?=[a-z0-9-]*=)")
_WITHOUT_PLACE = frozenset({"unix", "loopback"})
_ALONE = ("gramine", "occlum", "nsm", "tsm", "sev-guest", "host", "tpm")


def collect(address: str, report_data: bytes) -> EvidenceSet | None:
    """Evidence over 64 bytes of report data from all that the address names; None where it names nothing.

    Raises:
        AttesterUnavailable: the address is not understood, or one of them did not answer with evidence.
    """
    if address == NONE:
        return None
    pieces: dict[str, UnverifiedEvidence] = {}
    for label, each in _parts(address):
        pieces[label] = open_attester(each).attest(report_data)
    return EvidenceSet(pieces)


def open_attester(address: str) -> Attester:
    """The one attester that an address names.

    Raises:
        AttesterUnavailable: of no known kind, or nothing applies here (`auto`).
    """
    if address == AUTO:
        found = find_attester()
        if found is None:
            raise AttesterUnavailable(
                "No device of this machine makes evidence: paddock doctor tells what was looked for."
            )
        return found
    scheme, _, rest = address.partition(":")
    if scheme not in SCHEMES:
        raise AttesterUnavailable(f"Its address is of no known kind: {', '.join(SCHEMES)}.")
    return _load(scheme).from_address(rest)


def find_attester() -> Attester | None:
    """The attester that proves most of those whose device is there."""
    for scheme in _ALONE:
        attester = _load(scheme).from_address("")
        if attester.available():
            return attester
    return None


def usual_attesters() -> dict[str, Attester]:
    """Every kind that has a usual place on a machine, by scheme; whether it is there is another question."""
    return {scheme: _load(scheme).from_address("") for scheme in SCHEMES if scheme not in _WITHOUT_PLACE}


def check_available(address: str) -> None:
    """Return if every device that the address names is there. Asks none of them for evidence.

    Raises:
        AttesterUnavailable: the address is not understood, or a device is not there; which, and what to do.
    """
    if address == NONE:
        return
    for label, each in _parts(address):
        if not open_attester(each).available():
            raise AttesterUnavailable(f"The attester '{each}' ({label}) does not answer here.")


def check_address(address: str) -> None:
    """Return if the address can be read: asks no device.

    Raises:
        AttesterUnavailable: it cannot.
    """
    if address in {NONE, AUTO}:
        return
    for _, each in _parts(address):
        if each != AUTO:
            open_attester(each)


def _parts(address: str) -> list[tuple[str, str]]:
    first, *others = _BESIDE.split(address)
    parts = [(ENVIRONMENT, first)]
    for other in others:
        label, mark, each = other.partition("=")
        if not mark or label not in LABELS or label in {name for name, _ in parts}:
            raise AttesterUnavailable("What follows a '+' reads LABEL=ADDRESS, each label once, e.g. gpu-0=nvidia.")
        parts.append((label, each))
    return parts


def _load(scheme: str) -> type[Attester]:
    module, _, name = SCHEMES[scheme].partition(":")
    found: type[Attester] = getattr(importlib.import_module(module), name)
    return found
