"""What a launch's contract allows its run, as far as whoever starts it needs to know."""

from __future__ import annotations

from paddock.contract.terms import LimitTerms, read_terms
from paddock.crypto.dsse import Envelope
from paddock.errors import ContractRefused, EncodingRefused
from paddock.executors.executor import Launch


def asked_limits(launch: Launch) -> LimitTerms | None:
    """The limits of a launch's contract; None where it cannot be read: the enclave then refuses it, and says why.

    No signature is verified: an executor that is lied to starts what the enclave and the keepers refuse.
    """
    try:
        return read_terms(Envelope.from_dict(dict(launch.contract)).payload).limits
    except (EncodingRefused, ContractRefused):
        return None
