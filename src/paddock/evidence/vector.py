"""What a piece of evidence is worth, in the words of AR4SI: a trustworthiness vector, and the tier of its worst claim.

| claim | 2 or 3, affirming | 32, warning | 96, contraindicated |
| --- | --- | --- | --- |
| instance-identity | a vendor's root vouches for this very platform | | |
| configuration | no setting that a policy must allow | one that it allows | debug |
| executables | measured to a value that all parties signed: all that runs (2), all that was booted (3) | | |
| hardware | genuine, and up to date in the vendor's words | accepted in another state, or an advisory applies | |
| runtime-opaque | memory is encrypted | it is not | |

What is not said is no claim (AR4SI's 0). **Simulated evidence is never affirmed**: whatever it claims is -33, in AR4SI the
first of the non-standard reasons for a warning; here it means "software that stands in for hardware says so". No
standard value of the warning tier says that, and the contraindicated tier is not meant: the policy named the simulator.

Source: draft-ietf-rats-ar4si §2.3; docs/spec/attestation.md §4 (A-18).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from paddock.evidence.claims import ENVIRONMENT, Claims

NAMES: Final = (
    "instance-identity",
    "configuration",
    "executables",
    "file-system",
    "hardware",
    "runtime-opaque",
    "storage-opaque",
    "sourced-data",
)
"""The eight claims of AR4SI."""
AFFIRMED, AFFIRMED_AT_BOOT, WARNED, CONTRAINDICATED, SIMULATED = 2, 3, 32, 96, -33
_UP_TO_DATE = "UpToDate"
_ENCRYPTED = frozenset({"enclave", "confidential-vm", "sealed-vm"})
_NOTHING_UNMEASURED = frozenset({"enclave", "sealed-vm"})
_MEASURED_AT_BOOT = frozenset({"confidential-vm", "measured-host", "tpm", "gpu", "software"})
_VISIBLE = frozenset({"measured-host", "tpm", "software"})


class Tier(enum.StrEnum):
    """AR4SI's trustworthiness tiers."""

    NONE = "none"
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


_RANK = MappingProxyType({Tier.AFFIRMING: 0, Tier.NONE: 1, Tier.WARNING: 2, Tier.CONTRAINDICATED: 3})


def trust_vector(claims: Claims, *, label: str, reference: bool) -> dict[str, int]:
    """The trustworthiness vector of one piece: those claims that are made, by AR4SI's names.

    Args:
        claims: of verified evidence.
        label: which piece it is; only the environment itself says what its memory is like.
        reference: whether the measurement was held against values that all parties signed (R-9).
    """
    made = {"instance-identity": AFFIRMED, "configuration": _configuration(claims), "hardware": _hardware(claims)}
    if reference and claims.tee in _NOTHING_UNMEASURED:
        made["executables"] = AFFIRMED
    elif reference and claims.tee in _MEASURED_AT_BOOT:
        made["executables"] = AFFIRMED_AT_BOOT
    if label == ENVIRONMENT and claims.tee in _ENCRYPTED:
        made["runtime-opaque"] = AFFIRMED
    elif label == ENVIRONMENT and claims.tee in _VISIBLE:
        made["runtime-opaque"] = WARNED
    if claims.simulated:
        return dict.fromkeys(made, SIMULATED)
    return made


def tier_of(value: int) -> Tier:
    """The tier of one claim's value, -128 to 127."""
    if value in (-1, 0, 1):
        return Tier.NONE
    if -32 <= value <= 31:
        return Tier.AFFIRMING
    if -96 <= value <= 95:
        return Tier.WARNING
    return Tier.CONTRAINDICATED


def worst(tiers: Iterable[Tier]) -> Tier:
    """The tier of least trust; none where there is no claim."""
    return max(tiers, key=_RANK.__getitem__, default=Tier.NONE)


def _configuration(claims: Claims) -> int:
    if claims.debug:
        return CONTRAINDICATED
    return WARNED if claims.settings else AFFIRMED


def _hardware(claims: Claims) -> int:
    up_to_date = claims.tcb_status in (None, _UP_TO_DATE) and not claims.advisories
    return AFFIRMED if up_to_date else WARNED
