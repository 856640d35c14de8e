"""Applications with their addresses: how keeper and hub are served, over attested TLS where the address is https."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI

from paddock.attest import NO_ATTESTER, check_address, collect
from paddock.channel import Attest, OwnEnd, ServerTls
from paddock.crypto.canonical import canonical, parse
from paddock.crypto.identity import PrivateKeys
from paddock.errors import AttesterUnavailable, CryptoRefused, HomeInvalid
from paddock.evidence.tls import Identity, Kind
from paddock.keeper.home import KeeperHome, write_private
from paddock.keeper.keeper import open_keeper
from paddock.keeper.web import create_keeper_app
from paddock.service.serve import Served

_KEYS = "identity.json"


def serve_keeper(home: KeeperHome, url: str, proof: str = NO_ATTESTER) -> Served:
    """A keeper at its address.

    Args:
        home: its folder.
        url: where it answers; attested TLS where it begins with https.
        proof: address of the attester of this server's own environment.

    Raises:
        AttesterUnavailable: the attester's address is not understood, or the keeper's is not one of TLS.
    """
    _check_proof(url, proof)
    keeper = open_keeper(home)
    tls = ServerTls(*_ends("keeper", home.keys, proof), keeper.admit, keeper.admits_by) if is_https(url) else None
    return Served("keeper", create_keeper_app(keeper), *host_and_port(url), tls)


def serve_hub(folder: Path, app: FastAPI, url: str, proof: str = NO_ATTESTER) -> Served:
    """A hub at its address; it asks nobody for a certificate, and believes nobody because of a connection."""
    _check_proof(url, proof)
    tls = ServerTls(*_ends("hub", hub_keys(folder), proof)) if is_https(url) else None
    return Served("hub", app, *host_and_port(url), tls)


def hub_keys(folder: Path) -> PrivateKeys:
    """The keys by which a hub is known to its clients; made once.

    Raises:
        HomeInvalid: the file is damaged, or readable by others.
    """
    file = folder / _KEYS
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            write_private(file, canonical(PrivateKeys.generate().to_secret_dict()))
        if file.stat().st_mode & 0o077:
            raise HomeInvalid(f"{file} can be read by others: chmod 600 it.")
        return PrivateKeys.from_secret_dict(parse(file.read_bytes()))
    except OSError as error:
        raise HomeInvalid(f"{file}: {error.strerror}.") from error
    except CryptoRefused as error:
        raise HomeInvalid(f"{file} is damaged.") from error


def is_https(url: str) -> bool:
    """Whether an address is one of attested TLS."""
    return url[:8].lower() == "https://"


def host_and_port(url: str) -> tuple[str, int]:
    """Where an address listens."""
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", (443 if is_https(url) else 80) if parts.port is None else parts.port


def _check_proof(url: str, proof: str) -> None:
    check_address(proof)
    if proof != NO_ATTESTER and not is_https(url):
        raise AttesterUnavailable(f"Evidence is shown over TLS alone: {url} must begin with https.")


def _ends(kind: Kind, keys: PrivateKeys, proof: str) -> tuple[OwnEnd, OwnEnd | None]:
    identity = Identity(kind, keys.public())
    attest: Attest = partial(collect, proof)
    attested = None if proof == NO_ATTESTER else OwnEnd(identity, keys, "server", attest)
    return OwnEnd(identity, keys, "server"), attested
