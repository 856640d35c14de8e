"""A keeper's folder: its own keys, the party it acts for, its trust policy, its database."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.digest import sha256_id
from paddock.crypto.identity import PrivateKeys, PublicKeys
from paddock.errors import CryptoRefused, KeeperHomeInvalid, TrustPolicyInvalid
from paddock.evidence.trust import TrustPolicy, read_trust_policy

_KEYS, _PUBLIC, _PARTY = "keys.json", "public.json", "party.json"
_TRUST = "trust.toml"
DATABASE = "keeper.db"
EMPTY_POLICY = """\
# What evidence this keeper accepts. With nothing here it accepts none and refuses every release.
# To accept a simulator (it protects nobody from the machine's operator), name its key:
#
#     paddock keeper policy allow-simulator KEY
"""


@dataclass(frozen=True)
class PolicyFolder:
    """A folder with a trust policy in it: a keeper's, or its party's copy of one that is kept elsewhere."""

    folder: Path

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

    def replace_policy(self, text: str) -> str:
        """Put another policy in its place, whole; its digest.

        Raises:
            TrustPolicyInvalid: it cannot be read; the one of before stays.
            KeeperHomeInvalid: it cannot be written; likewise.
        """
        read_trust_policy(text)
        data, temporary = text.encode("utf-8"), self.folder / f".{_TRUST}.{secrets.token_hex(8)}"
        try:
            write_private(temporary, data)
            temporary.replace(self.trust_file())
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise KeeperHomeInvalid(f"{self.trust_file()}: {error.strerror}.") from error
        return sha256_id(data)


class KnownPolicy:
    """The policy in a folder with its digest, read again whenever the file is another, so that a change needs no restart.

    Args:
        folder: the keeper's.
    """

    def __init__(self, folder: PolicyFolder) -> None:
        self._file = folder.trust_file()
        self._read: tuple[tuple[int, int, int], TrustPolicy, str] | None = None

    def __call__(self) -> tuple[TrustPolicy, str]:
        """The policy as it stands now, and `sha256:` of its file.

        Raises:
            TrustPolicyInvalid, KeeperHomeInvalid: see `PolicyFolder.policy`.
        """
        try:
            status = self._file.stat()
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
            if self._read is None or self._read[0] != stamp:
                data = self._file.read_bytes()
                self._read = stamp, read_trust_policy(data.decode("utf-8")), sha256_id(data)
        except UnicodeDecodeError as error:
            raise TrustPolicyInvalid(f"{self._file} is not UTF-8.") from error
        except OSError as error:
            raise KeeperHomeInvalid(f"{self._file}: {error.strerror}.") from error
        return self._read[1], self._read[2]


@dataclass(frozen=True)
class KeeperHome(PolicyFolder):
    """An opened keeper's folder."""

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
    def adopt(cls, folder: Path, keeper: PublicKeys, party: PublicKeys) -> PolicyFolder:
        """Note in a new folder which keeper, kept elsewhere, acts for `party`, with an empty policy for it.

        Raises:
            KeeperHomeInvalid: there is something already, or the folder cannot be written.
        """
        try:
            folder.mkdir(mode=0o700, parents=True)
            write_private(folder / _PUBLIC, canonical(keeper.to_dict()))
            write_private(folder / _PARTY, canonical(party.to_dict()))
            write_private(folder / _TRUST, EMPTY_POLICY.encode("utf-8"))
        except OSError as error:
            raise KeeperHomeInvalid(f"{folder}: {error.strerror}.") from error
        return PolicyFolder(folder)

    @classmethod
    def is_elsewhere(cls, folder: Path) -> bool:
        """Whether the folder only notes a keeper that is kept elsewhere."""
        return (folder / _PUBLIC).exists() and not (folder / _KEYS).exists()

    @classmethod
    def load(cls, folder: Path) -> KeeperHome:
        """Open an existing keeper's folder.

        Raises:
            KeeperHomeInvalid: missing, damaged, or its key file readable by others.
        """
        if cls.is_elsewhere(folder):
            raise KeeperHomeInvalid(f"{folder}: this keeper is kept elsewhere.")
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


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that its owner alone can read, and see it on disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
