"""What a script printed before it failed: for the parties that the contract names for its log, and nobody else."""

from __future__ import annotations

from collections.abc import Mapping

from paddock.contract.terms import Terms

LOG = "log"


class LastWords:
    """Holds the log of the step that failed, if any did."""

    def __init__(self) -> None:
        self._step = ""
        self._log = b""

    def keep(self, step: str, files: Mapping[str, bytes]) -> None:
        """Keep what this step left."""
        self._step, self._log = step, b"".join(content for _, content in sorted(files.items()))

    def log_for(self, terms: Terms, party: str) -> bytes:
        """The log, if this party is to receive it; nothing otherwise."""
        source = f"{self._step}.{LOG}"
        named = any(each.source == source and party in each.to for each in terms.outputs.values())
        return self._log if named else b""
