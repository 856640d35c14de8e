"""The SDK of a participant: identity, sealing, contracts, runs, results; on its own machine, with its own keys."""

from paddock.party.home import Home
from paddock.party.party import Party

__all__ = ["Home", "Party"]
