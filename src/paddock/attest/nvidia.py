"""Reports of an NVIDIA GPU in confidential-computing mode, through NVML, the library that comes with the driver.

Address: `nvidia` for the first GPU, or `nvidia:1` for the second, and so on.

A GPU in DevTools mode can be looked into, and its report has no field that says so. The library does; since it runs in
the measured environment, its word is good as far as that is, and such a GPU is not attested here.

Source: NVIDIA Management Library (NVML) API reference, confidential computing (`nvmlDeviceGetConfComputeGpu…`), and the
structures of its header `nvml.h`; docs/spec/attestation.md (A-3, A-5).
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from paddock.crypto.x509 import Certificate
from paddock.errors import AttesterUnavailable, CryptoRefused, EvidenceRefused
from paddock.evidence.binding import short_report_data
from paddock.evidence.claims import UnverifiedEvidence
from paddock.evidence.providers.nvidia import (
    CERTIFICATES,
    MEDIA_TYPE,
    Architecture,
    gpu_body,
    read_report,
    report_length,
)

LIBRARY = "libnvidia-ml.so.1"
_INDEX = re.compile(r"[0-9]|[1-9][0-9]")
_ARCHITECTURES: dict[int, Architecture] = {9: "hopper", 10: "blackwell"}
_HANDLE = "nvmlDeviceGetHandleByIndex_v2"
_NO_SUCH = frozenset({2, 6})  # an invalid argument, not found
_MOST_REPORT_BYTES, _MOST_CHAIN_BYTES = 0x2000, 0x1400


class _State(ctypes.Structure):
    _fields_ = (("environment", ctypes.c_uint), ("feature", ctypes.c_uint), ("dev_tools", ctypes.c_uint))


class _Report(ctypes.Structure):
    _fields_ = (
        ("has_cec_report", ctypes.c_uint),
        ("size", ctypes.c_uint),
        ("cec_size", ctypes.c_uint),
        ("nonce", ctypes.c_ubyte * 32),
        ("report", ctypes.c_ubyte * _MOST_REPORT_BYTES),
        ("cec_report", ctypes.c_ubyte * 0x1000),
    )


class _Certificates(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint),
        ("attestation_size", ctypes.c_uint),
        ("chain", ctypes.c_ubyte * 0x1000),
        ("attestation_chain", ctypes.c_ubyte * _MOST_CHAIN_BYTES),
    )


@dataclass(frozen=True)
class NvidiaAttester:
    """One GPU.

    Args:
        index: its number, as the driver counts.
        library: NVML's file name.
        load: opens it.
    """

    index: int = 0
    library: str = LIBRARY
    load: Callable[[str], Any] = field(default=ctypes.CDLL, repr=False)
    name = "nvidia"

    @classmethod
    def from_address(cls, text: str) -> NvidiaAttester:
        """Read what stands behind `nvidia:`; may be empty.

        Raises:
            AttesterUnavailable: it is not the number of a GPU.
        """
        if text and not _INDEX.fullmatch(text):
            raise AttesterUnavailable(f"Its address is nvidia, or nvidia: and the number of a GPU, not {text[:40]!r}.")
        return cls(int(text or 0))

    def available(self) -> bool:
        """Whether the driver is there and the GPU can be attested."""
        try:
            with self._device():
                return True
        except AttesterUnavailable:
            return False

    def attest(self, report_data: bytes) -> UnverifiedEvidence:
        """The GPU's report for 64 bytes of report data, whose short form is its nonce (A-3).

        Raises:
            AttesterUnavailable: there is no such GPU, it is not in confidential-computing mode, or it can be looked
                into; what to do.
        """
        nonce = short_report_data(report_data)
        asked, certificates = _Report(nonce=(ctypes.c_ubyte * 32)(*nonce)), _Certificates()
        with self._device() as (library, device, architecture):
            _call(library, "nvmlDeviceGetConfComputeGpuAttestationReport", device, ctypes.byref(asked))
            _call(library, "nvmlDeviceGetConfComputeGpuCertificate", device, ctypes.byref(certificates))
        answer = bytes(asked.report[: min(asked.size, _MOST_REPORT_BYTES)])
        chain = bytes(certificates.attestation_chain[: min(certificates.attestation_size, _MOST_CHAIN_BYTES)])
        try:
            report = answer[: report_length(answer)]  # the library's buffer may be longer
            same = read_report(report).nonce == nonce
            ders = [each.der for each in Certificate.from_pem(chain.rstrip(b"\0"))]
        except (EvidenceRefused, CryptoRefused) as error:
            raise AttesterUnavailable(f"The GPU's answer is not understood: {error.detail}") from error
        if not same or len(ders) != CERTIFICATES:
            raise AttesterUnavailable("The GPU's answer is not to what it was asked.")
        return UnverifiedEvidence(MEDIA_TYPE, gpu_body(architecture, report, ders))

    @contextmanager
    def _device(self) -> Iterator[tuple[Any, ctypes.c_void_p, Architecture]]:
        try:
            library = self.load(self.library)
        except OSError as error:
            raise AttesterUnavailable(f"{self.library} is not there: install NVIDIA's driver.") from error
        _call(library, "nvmlInit_v2")
        try:
            self._check_mode(library)
            device, number = ctypes.c_void_p(), ctypes.c_uint()
            _call(library, _HANDLE, ctypes.c_uint(self.index), ctypes.byref(device))
            _call(library, "nvmlDeviceGetArchitecture", device, ctypes.byref(number))
            if number.value not in _ARCHITECTURES:
                raise AttesterUnavailable("The GPU is neither Hopper nor Blackwell.")
            yield library, device, _ARCHITECTURES[number.value]
        finally:
            library.nvmlShutdown()

    def _check_mode(self, library: Any) -> None:
        state = _State()
        _call(library, "nvmlSystemGetConfComputeState", ctypes.byref(state))
        if state.feature != 1:
            raise AttesterUnavailable(
                "Confidential computing is off: the operator turns it on for the GPU and restarts it."
            )
        if state.dev_tools != 0:
            raise AttesterUnavailable(
                "The GPU is in DevTools mode and can be looked into: the operator turns that off."
            )


def _call(library: Any, name: str, *arguments: Any) -> None:
    function = getattr(library, name, None)
    if function is None:
        raise AttesterUnavailable(f"The driver is too old: its library has no {name}.")
    status = function(*arguments)
    if name == _HANDLE and status in _NO_SUCH:
        raise AttesterUnavailable("There is no GPU of that number.")
    if status != 0:
        raise AttesterUnavailable(f"{name} failed with {status}: see nvidia-smi conf-compute -q.")
