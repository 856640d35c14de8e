"""The attester of GPUs, before a stand-in for NVIDIA's library: in Python, and compiled where there is a compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from paddock.attest.nvidia import LIBRARY, NvidiaAttester
from paddock.errors import AttesterUnavailable
from paddock.evidence import Collateral, verify_evidence
from paddock.evidence.binding import check_report_data, short_report_data
from paddock.evidence.providers.nvidia import read_report, report_length
from tests.evidence.nvidia import recorded_report
from tests.fixtures.cast import NOW
from tests.fixtures.vendors.nvidia import NvidiaMaker

REPORT = bytes(range(64))
HOPPER = NvidiaMaker("hopper")


def _pem(maker: NvidiaMaker) -> bytes:
    certificates = [x509.load_der_x509_certificate(each) for each in maker.certificates()]
    return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in certificates)


class Library:
    """NVML as far as the attester uses it: one GPU that answers what it is asked."""

    def __init__(self, maker: NvidiaMaker = HOPPER, **lies: Any) -> None:
        self.maker = maker
        self.lies = lies
        self.open = 0

    def nvmlInit_v2(self) -> int:  # noqa: N802 - the library's names
        self.open += 1
        return int(self.lies.get("init", 0))

    def nvmlShutdown(self) -> int:  # noqa: N802
        self.open -= 1
        return 0

    def nvmlSystemGetConfComputeState(self, state: Any) -> int:  # noqa: N802
        state._obj.environment, state._obj.feature, state._obj.dev_tools = self.lies.get("state", (2, 1, 0))
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, device: Any) -> int:  # noqa: N802
        device._obj.value = 0x1234
        return int(self.lies.get("handle", 0 if index.value == 0 else 2))

    def nvmlDeviceGetArchitecture(self, device: ctypes.c_void_p, number: Any) -> int:  # noqa: N802
        assert device.value == 0x1234
        number._obj.value = self.lies.get("architecture", {"hopper": 9, "blackwell": 10}[self.maker.architecture])
        return 0

    def nvmlDeviceGetConfComputeGpuAttestationReport(self, device: ctypes.c_void_p, asked: Any) -> int:  # noqa: N802
        nonce = self.lies.get("nonce", bytes(asked._obj.nonce))
        answer = self.maker.report(nonce)
        size = len(answer) + self.lies.get("more", 0)
        ctypes.memmove(asked._obj.report, answer, len(answer))
        asked._obj.size = self.lies.get("size", size)
        return int(self.lies.get("report", 0))

    def nvmlDeviceGetConfComputeGpuCertificate(self, device: ctypes.c_void_p, found: Any) -> int:  # noqa: N802
        chain = self.lies.get("chain", _pem(self.maker) + b"\0")
        ctypes.memmove(found._obj.attestation_chain, chain, len(chain))
        found._obj.attestation_size = len(chain)
        return 0


def attester(library: Any, index: int = 0) -> NvidiaAttester:
    return NvidiaAttester(index, load=lambda _name: library)


@pytest.mark.parametrize("architecture", ["hopper", "blackwell"])
def test_a_gpu_is_attested_and_verified(architecture: Any) -> None:
    maker = NvidiaMaker(architecture)
    library = Library(maker)
    evidence = attester(library).attest(REPORT)
    assert library.open == 0
    claims = verify_evidence(evidence, policy=maker.policy(), collateral=Collateral(), now=NOW)
    check_report_data(REPORT, claims.report_data)
    assert attester(library).available()


def test_a_buffer_may_be_longer_than_the_report() -> None:
    evidence = attester(Library(more=100)).attest(REPORT)
    assert verify_evidence(evidence, policy=HOPPER.policy(), collateral=Collateral(), now=NOW)
    report = recorded_report("hopper")
    assert report_length(report + bytes(99)) == len(report)
    read_report(report)


@pytest.mark.parametrize(
    ("lies", "says"),
    [
        ({"init": 9}, "failed with 9"),
        ({"state": (2, 0, 0)}, "Confidential computing is off"),
        ({"state": (2, 1, 1)}, "DevTools"),
        ({"handle": 6}, "no GPU of that number"),
        ({"handle": 2}, "no GPU of that number"),
        ({"handle": 15}, "failed with 15"),
        ({"architecture": 8}, "neither Hopper nor Blackwell"),
        ({"report": 2}, "failed with 2"),
        ({"size": 10}, "not understood"),
        ({"size": 1 << 31}, None),
        ({"nonce": bytes(32)}, "not to what it was asked"),
        ({"chain": b"nothing"}, "not understood"),
        ({"chain": _pem(HOPPER).rpartition(b"-----BEGIN")[0]}, "not to what it was asked"),
    ],
)
def test_a_gpu_that_does_not_answer_as_it_must_is_not_attested(lies: dict[str, Any], says: str | None) -> None:
    library = Library(**lies)
    if says is None:
        attester(library).attest(REPORT)
        return
    with pytest.raises(AttesterUnavailable, match=says):
        attester(library).attest(REPORT)
    assert library.open == (1 if "init" in lies else 0)


def test_no_driver_and_an_old_driver_are_said_to_be_so() -> None:
    def missing(name: str) -> Any:
        assert name == LIBRARY
        raise OSError(name)

    alone = NvidiaAttester(load=missing)
    assert not alone.available()
    with pytest.raises(AttesterUnavailable, match="install NVIDIA's driver"):
        alone.attest(REPORT)

    class Old(Library):
        nvmlSystemGetConfComputeState: Any = None  # noqa: N815 - the library's name

    with pytest.raises(AttesterUnavailable, match="too old"):
        attester(Old()).attest(REPORT)


def test_addresses_name_one_gpu() -> None:
    assert NvidiaAttester.from_address("") == NvidiaAttester()
    assert NvidiaAttester.from_address("0") == NvidiaAttester(0)
    assert NvidiaAttester.from_address("12").index == 12
    for wrong in ("-1", "x", "01", "100", "0 ", "²"):
        with pytest.raises(AttesterUnavailable):
            NvidiaAttester.from_address(wrong)
    with pytest.raises(AttesterUnavailable, match="no GPU of that number"):
        attester(Library(), 1).attest(REPORT)


_SOURCE = """
#include <string.h>
typedef struct { unsigned environment, feature, dev_tools; } state_t;
typedef struct { unsigned has_cec, size, cec_size; unsigned char nonce[32], report[0x2000], cec[0x1000]; } report_t;
typedef struct { unsigned size, attestation_size; unsigned char chain[0x1000], attestation_chain[0x1400]; } chain_t;
static const unsigned char REPORT[] = {%(report)s};
static const unsigned char CHAIN[] = {%(chain)s};
static int there;
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetConfComputeState(state_t *s) { s->environment = 2; s->feature = 1; s->dev_tools = 0; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &there; return index ? 2 : 0; }
int nvmlDeviceGetArchitecture(void *device, unsigned *number) { *number = 9; return device == &there ? 0 : 2; }
int nvmlDeviceGetConfComputeGpuAttestationReport(void *device, report_t *r) {
    if (device != &there || memcmp(r->nonce, REPORT + 4, 32)) return 2;
    memcpy(r->report, REPORT, sizeof REPORT); r->size = sizeof REPORT; return 0;
}
int nvmlDeviceGetConfComputeGpuCertificate(void *device, chain_t *c) {
    if (device != &there) return 2;
    memcpy(c->attestation_chain, CHAIN, sizeof CHAIN); c->attestation_size = sizeof CHAIN; return 0;
}
"""


def _compiled(folder: Path, compiler: str) -> Callable[[str], Any]:
    report, chain = HOPPER.report(short_report_data(REPORT)), _pem(HOPPER)
    source, library = folder / "nvml.c", folder / LIBRARY
    source.write_text(_SOURCE % {"report": ",".join(map(str, report)), "chain": ",".join(map(str, chain))}, "ascii")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return partial(_load, library)


def _load(library: Path, name: str) -> Any:
    assert name == LIBRARY
    return ctypes.CDLL(str(library))


def test_the_librarys_structures_are_laid_out_as_in_its_header(tmp_path: Path) -> None:
    # A pointer and a structure that Python alone fills would fit whatever their layout is.
    compiler = shutil.which("cc")
    load = _compiled(tmp_path, compiler) if compiler else lambda _name: Library()
    evidence = NvidiaAttester(load=load).attest(REPORT)
    claims = verify_evidence(evidence, policy=HOPPER.policy(), collateral=Collateral(), now=NOW)
    check_report_data(REPORT, claims.report_data)
    with pytest.raises(AttesterUnavailable, match="no GPU of that number"):
        NvidiaAttester(1, load=load).attest(REPORT)
