"""What is fuzzed: everything that reads bytes which nobody vouches for, and some to begin with.

A parser may return or raise an error of Paddock's tree, and nothing else; within a second, and without much memory.
Signatures are switched off for providers, so that what is read behind them is reached; that none of it is believed
without a signature is shown by tests/evidence and tests/property/test_evidence_parsers.py.
"""

from __future__ import annotations

import base64
import contextlib
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

from dcap_qvl import QuoteVerifier  # type: ignore[import-untyped]  # it ships its types where mypy does not look

from paddock.crypto.canonical import canonical, parse
from paddock.crypto.jwt import read_jwt, sign_jwt
from paddock.crypto.public_key import PublicKey
from paddock.crypto.signing import VerifyKey
from paddock.crypto.tls import TlsKey
from paddock.crypto.x509 import Certificate, Chain, RevocationList, check_revocation, verify_chain
from paddock.errors import PaddockError
from paddock.evidence import Binding, Collateral, EvidenceSet, read_trust_policy
from paddock.evidence.cbor import read_cbor, write_cbor
from paddock.evidence.collateral import CollateralItem
from paddock.evidence.cose import read_key, read_sign1
from paddock.evidence.event_log import log_details, read_event_log
from paddock.evidence.provider import EvidenceProvider, installed_providers
from paddock.evidence.roots import named_root, root_names
from paddock.evidence.tls import Identity, TlsStatement, make_certificate, read_peer
from paddock.release.ear import TOKEN_TYPE, read_ear
from tests.evidence.matrix import Attempt, samples
from tests.fixtures.cast import NOW, SIMULATOR, contract, private_keys
from tests.fixtures.proof import binding, evidence
from tests.fixtures.receipts import verdict
from tests.fixtures.vendors.arm import CcaMaker
from tests.fixtures.vendors.nvidia import NvidiaMaker

_PROVIDERS = "paddock.evidence.providers."
VECTORS = Path(__file__).parents[1] / "evidence" / "vectors"


@dataclass(frozen=True)
class Target:
    """One parser.

    Args:
        name: for `--only`, and of the folder in which its inputs are kept.
        run: reads the bytes. What it raises outside the tree is a finding.
        seeds: inputs to begin with.
        text: whether the bytes are JSON with binary fields, which are changed inside their encoding.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Sequence[bytes]
    text: bool = False


def targets(only: Collection[str] | None = None) -> list[Target]:
    """All of them, or those with these names; one for every provider that is installed."""
    names = [name for name in sorted(installed_providers()) if only is None or name in only]
    parsers = [parser for parser in [*_parsers(), *_collaterals()] if only is None or parser.name in only]
    return [*(_provider(name, installed_providers()[name]) for name in names), *parsers]


@contextlib.contextmanager
def signatures_off() -> Iterator[None]:
    """Everything is signed by whomever it says: for reading what stands behind a signature, never for judging."""
    with contextlib.ExitStack() as stack:
        for method in ("verify_ecdsa", "verify_ecdsa_raw", "verify_rsa_pkcs1", "verify_rsa_pss"):
            stack.enter_context(mock.patch.object(PublicKey, method, return_value=None))
        stack.enter_context(mock.patch.object(VerifyKey, "verify", return_value=None))
        stack.enter_context(mock.patch.object(Certificate, "is_issued_by", _is_named_by))
        stack.enter_context(mock.patch.object(RevocationList, "is_by", return_value=True))
        for module in [each for name, each in sys.modules.items() if name.startswith(_PROVIDERS)]:
            if hasattr(module, "QuoteVerifier"):
                stack.enter_context(mock.patch.object(module, "QuoteVerifier", _Credulous))
        yield


class _Credulous:
    """Says of a quote whose signatures do not hold what was true of the last one of its kind whose did."""

    _known: ClassVar[dict[bytes, Any]] = {}

    def __init__(self, root: bytes) -> None:
        self._real = QuoteVerifier(root)

    def verify_with_policy(self, quote: bytes, *arguments: Any) -> Any:
        kind = quote[4:8]
        try:
            self._known[kind] = self._real.verify_with_policy(quote, *arguments)
        except ValueError:
            if kind not in self._known:
                raise
        return self._known[kind]


def _is_named_by(certificate: Certificate, issuer: Certificate) -> bool:
    return certificate.issuer == issuer.subject


def _provider(name: str, provider: EvidenceProvider) -> Target:
    attempts = [sample.genuine for sample in samples(name)]
    bodies = [attempt.evidence.body for attempt in attempts]

    def run(body: bytes) -> None:
        provider.recognises(body)  # never raises
        with contextlib.suppress(PaddockError):
            provider.needs(body)
        # Judged as the piece that it was probably made from: with its roots, collateral and time.
        attempt = min(attempts, key=lambda each: abs(len(each.evidence.body) - len(body)))
        trust = attempt.policy.section(name)
        try:
            claims = provider.verify(body, trust=trust, collateral=attempt.collateral, now=attempt.now)
        except PaddockError:
            return
        # What is found is written into verdicts and receipts.
        found = {"registers": dict(claims.registers), "details": dict(claims.details), "svns": dict(claims.svns)}
        if parse(canonical(found)) != found:
            raise AssertionError("claims that cannot be written down")

    return Target(name, run, bodies, text=all(body.startswith(b"{") for body in bodies))


def _collaterals() -> Iterator[Target]:
    """What is at hand about a platform is from wherever; genuine evidence is judged with it."""
    for name, provider in sorted(installed_providers().items()):
        attempts = [(sample.genuine, item) for sample in samples(name) for item in sample.genuine.collateral]
        bodies = [item.body for _, item in attempts]
        if bodies:
            run = partial(_with_collateral, provider, attempts)
            yield Target(f"{name}-collateral", run, bodies, text=all(body.startswith(b"{") for body in bodies))


def _with_collateral(provider: EvidenceProvider, attempts: list[tuple[Attempt, CollateralItem]], body: bytes) -> None:
    attempt, item = min(attempts, key=lambda each: abs(len(each[1].body) - len(body)))
    changed = Collateral([*attempt.collateral, replace(item, body=body)])
    trust = attempt.policy.section(provider.name)
    with contextlib.suppress(PaddockError):
        provider.verify(attempt.evidence.body, trust=trust, collateral=changed, now=attempt.now)


def _refusing(read: Callable[[bytes], object]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        with contextlib.suppress(PaddockError):
            read(data)

    return run


def _wrapper(data: bytes) -> None:
    # A wrapper is a member of a larger document, which is read before it.
    value = parse(data).get("wrapper")
    pieces = EvidenceSet.from_wrapper(value)
    if pieces.to_wrapper() != value:
        raise AssertionError("a wrapper with two forms")


def _collateral(data: bytes) -> None:
    read = Collateral.from_bytes(data)
    if read.to_bytes() != data:
        raise AssertionError("collateral with two forms")
    read.certificates()
    read.revocation_lists()


def _certificate(data: bytes) -> None:
    certificate = Certificate.from_der(data)
    for read in (certificate.public_key, certificate.check_extensions, lambda: certificate.check_issuer(0)):
        with contextlib.suppress(PaddockError):
            read()
    for oid in ("2.23.133.5.4.1", "2.5.29.31", "1.2.840.113741.1.13.1", "1.3.6.1.4.1.3704.1.1"):
        with contextlib.suppress(PaddockError):
            certificate.extension(oid)
    str((certificate.subject, certificate.issuer, certificate.serial)).encode("utf-8")
    verify_chain(certificate, [certificate], [certificate], now=NOW)


def _revocation_list(data: bytes) -> None:
    read = RevocationList.from_bytes(data)
    root = named_root("nvidia-device")[-1]
    read.is_by(root)
    read.revokes(root)
    check_revocation(Chain((root, root)), [read], now=NOW, required=True)


def _binding(data: bytes) -> None:
    value = parse(data)
    if Binding.from_dict(value).to_dict() != value:
        raise AssertionError("a binding with two forms")


def _event_log(data: bytes) -> None:
    log = read_event_log(data, padded=bool(len(data) % 2))
    for bank in ("sha1", "sha256", "sha384"):
        with contextlib.suppress(PaddockError):
            log.replay(bank)
    str(log_details(log)).encode("utf-8")


def _cbor(data: bytes) -> None:
    if write_cbor(read_cbor(data, "CBOR", tags=(18, 399))) != data:
        raise AssertionError("CBOR with two forms")


def _open_map(data: bytes) -> None:
    str(read_cbor(data, "CBOR", open_map=True)).encode("utf-8")


def _sign1(data: bytes) -> None:
    for tagged, key_id in ((False, False), (True, True)):
        with contextlib.suppress(PaddockError):
            read_sign1(data, "COSE", tagged=tagged, key_id=key_id).verify(named_root("aws-nitro-g1")[-1].public_key())


def _vectors(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(VECTORS.glob(pattern))]


def _verdict(data: bytes) -> None:
    read_ear(sign_jwt(parse(data), SIMULATOR, typ=TOKEN_TYPE), SIMULATOR.verify_key)


def _tls_certificates(shown: EvidenceSet) -> list[bytes]:
    keys, key = private_keys("tls"), TlsKey.generate()
    run = {"contract": "sha256:" + "a" * 64, "run": "b" * 32, "level": "L5"}
    found = []
    for identity in (Identity("keeper", keys.public()), Identity("run", keys.public(), **run)):
        statement = TlsStatement(identity, key.public.fingerprint(), NOW, NOW + timedelta(minutes=4), "server")
        found += [make_certificate(key, statement, keys, proof) for proof in (None, shown)]
    return found


def _token(data: bytes) -> None:
    read_jwt(data.decode("utf-8", "replace"), SIMULATOR.verify_key, typ=TOKEN_TYPE)


def _policies(pem: str) -> list[bytes]:
    key, image = SIMULATOR.verify_key.raw.hex(), "sha256:" + "0" * 64
    named = [f'[nvidia]\nroots = ["{name}"]\nallow = ["smt"]\nmin_svn = {{ fmc = 1 }}\n' for name in root_names()]
    texts = [
        "",
        f"max_age_seconds = 300\n[simulated]\nkeys = ['{key}']\n",
        f"sealed_images = ['{image}']\n[levels.L5]\nrequire = ['host', 'gpu-0']\nallow = ['gpu-1']\n",
        f"[nitro]\nroots = [{pem!r}]\ntcb_statuses = ['UpToDate']\n[plugins.other]\na = 1.5\n",
        *named,
    ]
    return [text.encode("utf-8") for text in texts]


def _parsers() -> list[Target]:
    gpu = NvidiaMaker()
    pieces = EvidenceSet({"environment": evidence(bytes(64)), "gpu-0": gpu.evidence(bytes(64))})
    bound = binding(contract())
    token = verdict(contract(), bound, evidence(bound.report_data()), "north").encode("ascii")
    payload = token.split(b".")[1]
    ear = base64.urlsafe_b64decode(payload + b"=" * (-len(payload) % 4))
    roots = [each for name in root_names() for each in named_root(name)]
    lists = gpu.collateral(NOW)
    pem = gpu.root_pem.encode("ascii")
    tokens = _vectors("nitro/*.cbor") + _vectors("cca/*.cbor")
    inner = [part for data in tokens[1:] for part in read_cbor(data, "token", tags=(399,)).value.values()]
    readers: list[tuple[str, Callable[[bytes], object], Sequence[bytes]]] = [
        ("policy", lambda data: read_trust_policy(data.decode("utf-8", "replace")), _policies(gpu.root_pem)),
        ("certificate", _certificate, [*(each.der for each in roots), *gpu.certificates()]),
        ("certificates", Certificate.from_pem, [pem, pem * 2, *_vectors("*/*.pem")]),
        ("revocation-list", _revocation_list, [item.body for item in lists]),
        ("key", PublicKey.from_der, [each.public_key().der for each in roots]),
        ("cbor", _cbor, [*tokens, write_cbor({1: [None, True, False, -1, "text", b"bytes", {"a": 1 << 40}]})]),
        ("cbor-map", _open_map, [b"\xbf" + write_cbor({"a": 1, "b": {2: b"3"}})[1:] + b"\xff"]),
        ("cose", _sign1, [*tokens, *inner]),
        ("cose-key", lambda data: read_key(data, "key"), [CcaMaker().public("realm")]),
        ("event-log", _event_log, _vectors("eventlog/*.bin")),
        ("token", _token, [token]),
        ("tls-certificate", lambda data: read_peer(data, role="server", now=NOW), _tls_certificates(pieces)),
    ]
    texts: list[tuple[str, Callable[[bytes], object], Sequence[bytes]]] = [
        ("wrapper", _wrapper, [canonical({"wrapper": pieces.to_wrapper()})]),
        ("collateral", _collateral, [Collateral().to_bytes(), lists.to_bytes()]),
        ("binding", _binding, [canonical(bound.to_dict())]),
        ("verdict", _verdict, [ear]),
    ]
    return [
        *(Target(name, _refusing(read), seeds) for name, read, seeds in readers),
        *(Target(name, _refusing(read), seeds, text=True) for name, read, seeds in texts),
    ]


def faults() -> list[Target]:
    """Two parsers with a fault each, which the fuzzer must find: that shows that it finds something."""

    def breaks(data: bytes) -> None:
        if data[1:2] == b"z":
            raise KeyError("a fault")

    def hangs(data: bytes) -> None:
        end = time.process_time() + (1.5 if data[:1] == b"p" else 0)
        while time.process_time() < end:
            pass

    return [Target("fault", breaks, [b"paw"]), Target("hang", hangs, [b"q"])]
