"""A keeper's folder: its own keys, the party it acts for, its trust policy, its database."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.digest import sha256_id
from paddock.crypto.identity import PrivateKeys, PublicKeys
from paddock.errors import CryptoRefused, KeeperHomeInvalid
from paddock.evidence.trust import TrustPolicy, read_trust_policy

_KEYS, _PUBLIC, _PARTY = "keys.json", "public.json", "party.json"
_TRUST = "trust.toml"
EMPTY_POLICY = """\
# What evidence this keeper accepts. With nothing here it accepts none and refuses every release.
# To accept a simulator (it protects nobody from the machine's operator), name its key:
#
#     paddock keeper policy allow-simulator KEY
"""


@dataclass(frozen=True)
class KeeperHome:
    """An opened keeper's folder."""

    folder: Path
    keys: PrivateKeys
    party: PublicKeys

    @classmethod
    def create(cls, folder: Path, party: PublicKeys) -> KeeperHome:
        """Make a keeper for `party` in a new folder.

        Raises:
            KeeperHomeInvalid: there is one already, or the folder cannot be written.
        """
        try:
            folder.mkdir(mode=0o700, parents=True)
            keys = PrivateKeys.generate()
            write_private(folder / _KEYS, canonical(keys.to_secret_dict()))
            write_private(folder / _PUBLIC, canonical(keys.public().to_dict()))
            write_private(folder / _PARTY, canonical(party.to_dict()))
            write_private(folder / _TRUST, EMPTY_POLICY.encode("utf-8"))
        except OSError as error:
            raise KeeperHomeInvalid(f"{folder}: {error.strerror}.") from error
        return cls(folder, keys, party)

    @classmethod
    def load(cls, folder: Path) -> KeeperHome:
        """Open an existing keeper's folder.

        Raises:
            KeeperHomeInvalid: missing, damaged, or its key file readable by others.
        """
        try:
            keys_file = folder / _KEYS
            if keys_file.stat().st_mode & 0o077:
                raise KeeperHomeInvalid(f"{keys_file} can be read by others: chmod 600 it.")
            keys = PrivateKeys.from_secret_dict(parse(keys_file.read_bytes()))
            party = PublicKeys.from_dict(parse((folder / _PARTY).read_bytes()))
        except OSError as error:
            raise KeeperHomeInvalid(f"{folder}: {error.strerror}.") from error
        except CryptoRefused as error:
            raise KeeperHomeInvalid(f"{folder}: a file is damaged.") from error
        return cls(folder, keys, party)

    def trust_file(self) -> Path:
        """Where the trust policy stands."""
        return self.folder / _TRUST

    def policy_digest(self) -> str:
        """`sha256:` of the trust policy's file as it stands now: which policy a verdict was made by."""
        try:
            return sha256_id(self.trust_file().read_bytes())
        except OSError as error:
            raise KeeperHomeInvalid(f"{self.trust_file()}: {error.strerror}.") from error

    def policy(self) -> TrustPolicy:
        """The trust policy as it stands now; read anew at every decision, so that a change needs no restart.

        Raises:
            TrustPolicyInvalid: it cannot be read; nothing is released until it can.
            KeeperHomeInvalid: the file is missing.
        """
        try:
            return read_trust_policy(self.trust_file().read_text(encoding="utf-8"))
        except OSError as error:
            raise KeeperHomeInvalid(f"{self.trust_file()}: {error.strerror}.") from error


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that its owner alone can read, and see it on disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
