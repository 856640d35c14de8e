"""Attesters: inside the environment, evidence from its device. They return bytes and judge nothing."""

from paddock.attest.address import NONE as NO_ATTESTER
from paddock.attest.address import (
    SCHEMES,
    check_address,
    check_available,
    collect,
    find_attester,
    open_attester,
    usual_attesters,
)
from paddock.attest.attester import Attester

__all__ = [
    "NO_ATTESTER",
    "SCHEMES",
    "Attester",
    "check_address",
    "check_available",
    "collect",
    "find_attester",
    "open_attester",
    "usual_attesters",
]
