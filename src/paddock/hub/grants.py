"""Ways to the store that are given to one run each: a secret in an address, good while the run lasts.

Whoever has it can read ciphertext and add objects under new names; nothing is replaced or deleted by it. That is what an
engine and an executor can do as well, so it is no more than theirs to lose.
"""

from __future__ import annotations

import hashlib
import secrets
import threading

from paddock.errors import GrantEnded

_TOKEN_BYTES = 32


class Grants:
    """Which runs have a way to the store. They are gone when the hub stops, as its runs are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By digest: how long a look-up takes tells nothing of a token.
        self._runs: dict[bytes, str] = {}

    def give(self, run: str) -> str:
        """A token for a run."""
        token = secrets.token_hex(_TOKEN_BYTES)
        with self._lock:
            self._runs[_key(token)] = run
        return token

    def end(self, run: str) -> None:
        """Take back what a run was given."""
        with self._lock:
            self._runs = {key: each for key, each in self._runs.items() if each != run}

    def check(self, token: str) -> str:
        """The run that a token was given to.

        Raises:
            GrantEnded: nobody has it, or its run has ended.
        """
        with self._lock:
            run = self._runs.get(_key(token))
        if run is None:
            raise GrantEnded
        return run


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
