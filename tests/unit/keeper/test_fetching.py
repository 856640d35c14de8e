"""Fetching from vendors: what comes back is held to its form; silence, refusals and floods end in a sentence."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from paddock.errors import VendorUnavailable
from paddock.evidence import Collateral, UnverifiedEvidence, verify_evidence
from paddock.evidence.collateral import CollateralNeed
from paddock.evidence.provider import installed_providers
from paddock.evidence.trust import TrustPolicy
from paddock.keeper.fetching import MAX_ANSWER_BYTES, CollateralFetcher
from tests.fixtures.publisher import Answer, Publisher, pcs_answers, serving

VECTORS = Path(__file__).resolve().parents[2] / "evidence" / "vectors"
NOW = datetime(2025, 7, 1, tzinfo=UTC)
PCS, ROOT = "https://api.trustedservices.intel.com", "https://certificates.trustedservices.intel.com"
VENDOR = "https://vendor.example"


def fetcher(publisher: Publisher, **changes: Any) -> CollateralFetcher:
    mirrors = dict.fromkeys((PCS, ROOT, VENDOR), publisher.url)
    return CollateralFetcher(**{"mirrors": mirrors, "sleep": lambda _seconds: None, **changes})


def need(kind: str, path: str = "/x") -> CollateralNeed:
    return CollateralNeed(kind, "some/key", {"body": VENDOR + path})


def self_made() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=20000))
    return key, builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize(("tee", "name", "ca"), [("sgx", "quote_v3", "processor"), ("tdx", "quote_v4", "platform")])
def test_what_intel_published_is_put_together_and_judges_its_quote(tee: str, name: str, ca: str) -> None:
    recorded = json.loads((VECTORS / tee / f"{name}.collateral.json").read_bytes())
    quote = (VECTORS / tee / f"{name}.bin").read_bytes()
    provider = installed_providers()[tee]
    (wanted,) = provider.needs(quote)
    asked: list[str] = []
    publisher = Publisher(pcs_answers(recorded, tee, ca))
    with serving(publisher), fetcher(publisher, progress=asked.append) as vendor:
        (item,) = vendor.fetch(wanted, now=NOW)
    assert (item.key, item.fetched) == (wanted.key, "2025-07-01T00:00:00Z")
    assert json.loads(item.body) == {key: recorded[key] for key in json.loads(item.body)}
    assert len(asked) == len(publisher.asked) == 4
    lax = {
        "roots": ["intel-sgx"],
        "tcb_statuses": ["UpToDate", "ConfigurationAndSWHardeningNeeded"],
        "advisories": ["INTEL-SA-00289", "INTEL-SA-00615"],
        "allow": ["cached-keys", "dynamic-platform", "smt"],
    }
    policy = TrustPolicy.model_validate({tee: lax})
    evidence = UnverifiedEvidence(provider.media_type, quote)
    claims = verify_evidence(evidence, policy=policy, collateral=Collateral([item]), now=NOW)
    assert claims.collateral == (wanted.key,)


def test_an_answer_of_intel_without_its_chain_is_refused() -> None:
    recorded = json.loads((VECTORS / "sgx" / "quote_v3.collateral.json").read_bytes())
    answers: dict[str, Answer] = {
        path: ({}, body) for path, (_, body) in pcs_answers(recorded, "sgx", "processor").items()
    }
    (wanted,) = installed_providers()["sgx"].needs((VECTORS / "sgx" / "quote_v3.bin").read_bytes())
    with serving(Publisher(answers)) as publisher, fetcher(publisher) as vendor, pytest.raises(VendorUnavailable):
        vendor.fetch(wanted, now=NOW)


def test_certificates_come_in_either_form_and_with_their_issuers() -> None:
    recorded = json.loads((VECTORS / "sgx" / "quote_v3.collateral.json").read_bytes())
    pem = recorded["tcb_info_issuer_chain"].encode()
    leaf, root = (each.public_bytes(serialization.Encoding.DER) for each in x509.load_pem_x509_certificates(pem))
    answers: dict[str, Answer] = {"/pem": ({}, pem), "/der": ({}, leaf), "/other": ({}, b"x")}
    with serving(Publisher(answers)) as publisher, fetcher(publisher) as vendor:
        first, second = vendor.fetch(need("certificate", "/pem"), now=NOW)
        assert (first.key, first.body, second.body) == ("some/key", leaf, root)
        assert vendor.fetch(need("certificate", "/der"), now=NOW) == [first]
        with pytest.raises(VendorUnavailable, match="not a certificate"):
            vendor.fetch(need("certificate", "/other"), now=NOW)
        with pytest.raises(VendorUnavailable, match="not a crl"):
            vendor.fetch(need("crl", "/other"), now=NOW)
        (other,) = vendor.fetch(need("a-plug-in", "/other"), now=NOW)
        assert (other.kind, other.body) == ("a-plug-in", b"x")
        with pytest.raises(VendorUnavailable, match="put together"):
            vendor.fetch(
                CollateralNeed("a-plug-in", "k", {"one": f"{VENDOR}/other", "two": f"{VENDOR}/other"}), now=NOW
            )


def test_a_list_is_kept_in_one_form() -> None:
    recorded = json.loads((VECTORS / "sgx" / "quote_v3.collateral.json").read_bytes())
    der = bytes.fromhex(recorded["pck_crl"])
    pem = x509.load_der_x509_crl(der).public_bytes(serialization.Encoding.PEM)
    with serving(Publisher({"/x": ({}, pem)})) as publisher, fetcher(publisher) as vendor:
        assert vendor.fetch(need("crl"), now=NOW)[0].body == der


def test_a_busy_vendor_is_asked_again_after_as_long_as_it_says() -> None:
    waited: list[float] = []
    busy: list[tuple[int, Mapping[str, str]]] = [
        (429, {"Retry-After": "7"}),
        (503, {"Retry-After": "9999"}),
        (500, {"Retry-After": "soon"}),
    ]
    publisher = Publisher({"/x": ({}, b"x")}, {"/x": busy})
    with serving(publisher), fetcher(publisher, sleep=waited.append) as vendor:
        assert vendor.fetch(need("a-plug-in"), now=NOW)[0].body == b"x"
    assert waited == [7.0, 30.0, 9.0]


def test_a_vendor_that_stays_busy_is_given_up() -> None:
    publisher = Publisher({}, {"/x": [(429, {})] * 9})
    with serving(publisher), fetcher(publisher) as vendor, pytest.raises(VendorUnavailable, match="429"):
        vendor.fetch(need("a-plug-in"), now=NOW)
    assert len(publisher.asked) == 4


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 410])
def test_a_refusal_is_not_repeated_and_a_redirect_not_followed(status: int) -> None:
    publisher = Publisher({"/y": ({}, b"y")}, {"/x": [(status, {"Location": "/y"})]})
    with serving(publisher), fetcher(publisher) as vendor, pytest.raises(VendorUnavailable, match=str(status)):
        vendor.fetch(need("a-plug-in"), now=NOW)
    assert publisher.asked == ["/x"]


def test_a_flood_is_cut_off() -> None:
    publisher = Publisher({"/x": ({}, bytes(MAX_ANSWER_BYTES + 1))})
    with serving(publisher), fetcher(publisher) as vendor, pytest.raises(VendorUnavailable, match="more than"):
        vendor.fetch(need("a-plug-in"), now=NOW)


def test_nobody_there_is_said() -> None:
    with (
        fetcher(Publisher(url="http://127.0.0.1:9")) as vendor,
        pytest.raises(VendorUnavailable, match=r"127\.0\.0\.1:9"),
    ):
        vendor.fetch(need("a-plug-in"), now=NOW)


def test_a_connection_that_ends_in_the_middle_is_tried_again() -> None:
    class Broken(BaseHTTPRequestHandler):
        count = 0

        def do_GET(self) -> None:
            type(self).count += 1
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"half" if self.count == 1 else b"whole12345")

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Broken)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        with fetcher(Publisher(url=f"http://127.0.0.1:{server.server_address[1]}")) as vendor:
            assert vendor.fetch(need("a-plug-in"), now=NOW)[0].body == b"whole12345"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_only_https_is_spoken_but_to_this_machine_and_for_lists() -> None:
    with CollateralFetcher(pauses=()) as vendor:
        for kind, url in (("certificate", "http://vendor.example/x"), ("crl", "ftp://vendor.example/x")):
            with pytest.raises(VendorUnavailable, match="not https"):
                vendor.fetch(CollateralNeed(kind, "k", {"body": url}), now=NOW)
    with pytest.raises(VendorUnavailable, match="not https"):
        CollateralFetcher(mirrors={VENDOR: "http://cache.example"})


def test_a_mirror_stands_for_its_origin_alone() -> None:
    with CollateralFetcher(mirrors={f"{VENDOR}/": "https://cache.example/a/"}) as vendor:
        assert vendor._mirrored(f"{VENDOR}/b?c=d") == "https://cache.example/a/b?c=d"
        assert vendor._mirrored(VENDOR) == "https://cache.example/a"
        for other in (f"{VENDOR}.org/b", "https://other.example/b", f"{VENDOR}:444/b"):
            assert vendor._mirrored(other) == other


def test_a_certificate_that_the_web_does_not_know_is_refused(tmp_path: Path) -> None:
    key, certificate = self_made()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (tmp_path / "pem").write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")

    class Quiet(HTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        url = f"https://127.0.0.1:{server.server_address[1]}"
        with CollateralFetcher(pauses=()) as vendor, pytest.raises(VendorUnavailable, match="ConnectError"):
            vendor.fetch(CollateralNeed("certificate", "k", {"body": url}), now=NOW)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_host_that_is_silent_is_not_waited_for_again() -> None:
    asked: list[str] = []
    silent = {VENDOR: "https://127.0.0.1:9"}  # the discard port: nobody answers
    with CollateralFetcher(mirrors=silent, sleep=lambda _seconds: None, progress=asked.append) as vendor:
        for number in range(3):
            with pytest.raises(VendorUnavailable, match="does not answer" if number == 0 else "was not asked"):
                vendor.fetch(need("certificate", f"/{number}"), now=NOW)
    assert sum("://" in text for text in asked) == 1
    assert sum("Again in" in text for text in asked) == 3
