"""What a job said before it failed: for the parties that the contract names for its log, and nobody else.

A script may be any party's code, and its words anything that it read. So they go where its log goes (V-12).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from paddock.contract.levels import is_built_in
from paddock.contract.terms import Terms
from paddock.errors import PaddockError

LOG = "log"
_ENDED = re.compile(r"Its exit status was [0-9]{1,3}\.|It was ended by SIG[A-Z0-9]{2,8}\.")


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
        return self._log if self._hears(terms, party) else b""

    def error_for(self, error: PaddockError, terms: Terms, party: str) -> PaddockError:
        """The error as this party may read it: a script's words go to those who receive its log, to others how it ended."""
        kind = next((step.kind for step in terms.steps if step.name == self._step), None)
        # V-12: what a worker with a party's code in it says, that code may have said.
        if kind is None or is_built_in(kind) or self._hears(terms, party) or _ENDED.fullmatch(error.detail):
            return error
        return type(error)()

    def _hears(self, terms: Terms, party: str) -> bool:
        source = f"{self._step}.{LOG}"
        return any(each.source == source and party in each.to for each in terms.outputs.values())
