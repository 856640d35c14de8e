"""Whom a home expects at the addresses of its hub and its keeper, and what these must prove.

servers/keeper/ and servers/hub/, each only where evidence is demanded:
  policy.toml       a trust policy, as a keeper's
  expected.json     measurements, and the level whose pieces the policy demands
  collateral.json   what vendors published about the platform; may be missing

Source: docs/spec/attestation.md §8 (A-20, A-25).
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Literal

from paddock.channel import ClientTls, OwnEnd, pinned_server, split_address
from paddock.contract.levels import Level
from paddock.crypto.digest import is_digest
from paddock.crypto.identity import PublicKeys
from paddock.errors import HomeInvalid, PeerRefused, TrustPolicyInvalid
from paddock.evidence.collateral import Collateral
from paddock.evidence.tls import ExpectedEvidence, ExpectedServer, Identity
from paddock.evidence.trust import read_trust_policy
from paddock.party.files import read_json, write_bytes, write_json
from paddock.party.home import Home

Server = Literal["hub", "keeper"]
_POLICY, _EXPECTED, _COLLATERAL = "policy.toml", "expected.json", "collateral.json"


def demand_evidence(
    home: Home,
    server: Server,
    *,
    policy: str,
    measurements: Collection[str],
    level: Level = Level.L5,
    collateral: Collateral | None = None,
) -> None:
    """From now on nothing is sent to this server before it proved by evidence what it is (A-25).

    Args:
        home: whose.
        server: which of its servers.
        policy: the text of a trust policy.
        measurements: of the server's environment; one of them must be shown.
        level: whose pieces the policy demands.
        collateral: what is known of its platform; None leaves what was known before.

    Raises:
        TrustPolicyInvalid: it cannot be read, or accepts nothing.
        PeerRefused: no measurement, or one that is none.
    """
    if read_trust_policy(policy).accepts_nothing():
        raise TrustPolicyInvalid("It accepts no evidence, so that no server could ever pass.")
    if not measurements or not all(is_digest(each) for each in measurements):
        raise PeerRefused("A measurement reads sha256: and 64 hex digits; at least one is expected.")
    folder = _folder(home, server)
    if collateral is not None:
        write_bytes(folder / _COLLATERAL, collateral.to_bytes())
    write_bytes(folder / _POLICY, policy.encode("utf-8"))
    write_json(folder / _EXPECTED, {"level": str(level), "measurements": sorted(measurements)})


def demand_no_evidence(home: Home, server: Server) -> bool:
    """Demand no evidence of this server any more; whether some was demanded."""
    folder = _folder(home, server)
    known = folder.exists()
    for name in (_EXPECTED, _POLICY, _COLLATERAL):
        (folder / name).unlink(missing_ok=True)
    if known:
        folder.rmdir()
    return known


def demanded_evidence(home: Home, server: Server) -> ExpectedEvidence | None:
    """What this server must prove; None where nothing is demanded.

    Raises:
        HomeInvalid, TrustPolicyInvalid: what is demanded cannot be read: then nothing is sent.
    """
    folder = _folder(home, server)
    if not folder.exists():
        return None
    try:
        value = read_json(folder / _EXPECTED)
        policy = read_trust_policy((folder / _POLICY).read_text("utf-8"))
        return ExpectedEvidence(policy, str(Level(value["level"])), frozenset(map(str, value["measurements"])))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise HomeInvalid(f"{folder} is damaged: say again what is demanded: paddock {server} trust.") from error


def server_tls(home: Home, server: Server, keeper: PublicKeys | None = None) -> ClientTls | None:
    """How this home reaches one of its servers; None where the address is not https and nothing is demanded.

    Args:
        home: whose.
        server: which.
        keeper: the keeper's keys, from the home's own folder.

    Raises:
        PeerRefused: nobody can be expected there (A-20), or evidence is demanded of an address without TLS (A-25).
        HomeInvalid, TrustPolicyInvalid: see `demanded_evidence`.
    """
    url, fingerprint = split_address(home.hub if server == "hub" else home.keeper)
    asked = demanded_evidence(home, server)
    if not url.lower().startswith("https://"):
        if asked is not None:
            raise PeerRefused(f"Evidence is demanded of the {server}, and at {url} it can show none: use https.")
        return None
    if keeper is not None:
        if fingerprint not in ("", keeper.fingerprint()):
            raise PeerRefused(f"The address of the keeper names {fingerprint}, its keys in this home are others.")
        fingerprint = keeper.fingerprint()
    expected = ExpectedServer(server, pinned_server(url, fingerprint, server).fingerprint, asked)
    own = OwnEnd(Identity("party", home.keys.public()), home.keys, "client") if server == "keeper" else None
    return ClientTls(expected, own, lambda: _collateral(home, server))


def _collateral(home: Home, server: Server) -> Collateral:
    try:
        return Collateral.from_bytes((_folder(home, server) / _COLLATERAL).read_bytes())
    except FileNotFoundError:
        return Collateral()
    except OSError as error:
        raise HomeInvalid(f"{_folder(home, server)}: {error.strerror}.") from error


def _folder(home: Home, server: Server) -> Path:
    return home.folder / "servers" / server
