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
        self.begun = False
        """Whether a job began: from then on words of an error may be its own."""
        self._step = ""
        self._log = b""

    def begin(self) -> None:
        """A job begins."""
        self.begun = True

    def keep(self, step: str, files: Mapping[str, bytes]) -> None:
        """Keep what this step left."""
        self._step, self._log = step, b"".join(content for _, content in sorted(files.items()))

    def log_for(self, terms: Terms, party: str) -> bytes:
        """The log, if this party is to receive it; nothing otherwise."""
        return self._log if _hears(terms, self._step, party) else b""

    def error_for(self, error: PaddockError, terms: Terms, party: str) -> PaddockError:
        """The error as this party may read it: the words only if it receives the log of every script of the contract.

        A script chooses what it fails with, how its files are called that an output check then names, and what a later
        step finds in them. Others read the code, and the exit status if that is what it was.
        """
        scripts = [step.name for step in terms.steps if not is_built_in(step.kind)]
        # V-12
        if _ENDED.fullmatch(error.detail) or all(_hears(terms, name, party) for name in scripts):
            return error
        return type(error)()


def _hears(terms: Terms, step: str, party: str) -> bool:
    return any(each.source == f"{step}.{LOG}" and party in each.to for each in terms.outputs.values())
