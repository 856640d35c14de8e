"""Fetching collateral from those who publish it: Intel's PCS, AMD's KDS, NVIDIA's and others' lists, or a mirror.

The only place where a keeper speaks to a vendor, and only when its owner says so. What comes back is data: it is held to
the form of its kind here, and believed only when evidence is judged (A-14).

Source: docs/spec/attestation.md §7.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx

from paddock.crypto.moment import write_moment
from paddock.crypto.x509 import Certificate, RevocationList
from paddock.errors import CollateralInvalid, CryptoRefused, VendorUnavailable
from paddock.evidence.collateral import (
    CERTIFICATE,
    INTEL_PCS,
    REVOCATION_LIST,
    CollateralItem,
    CollateralNeed,
    certificate_item,
)
from paddock.evidence.providers.intel import assemble_pcs

MAX_ANSWER_BYTES = 2 << 20
TIMEOUT_SECONDS, CONNECT_SECONDS = 20.0, 5.0
PAUSES = (1.0, 3.0, 9.0)
MAX_PAUSE_SECONDS = 30.0
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Answer = tuple[Mapping[str, str], bytes]
Progress = Callable[[str], None]


class CollateralFetcher:
    """Fetches items.

    Args:
        mirrors: other addresses for vendors' own, e.g. `https://api.trustedservices.intel.com` to a caching service.
        pauses: seconds before the second and each further attempt.
        sleep: waits.
        progress: is told each address before it is asked, and why one is asked again.
    """

    def __init__(
        self,
        *,
        mirrors: Mapping[str, str] | None = None,
        pauses: Iterable[float] = PAUSES,
        sleep: Callable[[float], None] = time.sleep,
        progress: Progress = lambda _url: None,
    ) -> None:
        self._mirrors = {source.rstrip("/"): target.rstrip("/") for source, target in (mirrors or {}).items()}
        for target in self._mirrors.values():
            if not _is_safe(target):
                raise VendorUnavailable(f"The mirror {target[:200]} is not https.")
        self._pauses = tuple(pauses)
        self._sleep = sleep
        self._progress = progress
        # A proxy from the environment never stands between two processes of one machine.
        direct = dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]"))
        timeout = httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS)
        self._http = httpx.Client(timeout=timeout, follow_redirects=False, mounts=direct)
        self._silent: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def fetch(self, need: CollateralNeed, *, now: datetime) -> list[CollateralItem]:
        """Get what is needed: the item of that key first, and certificates that came with it.

        Args:
            need: as a provider's `needs` told.
            now: is noted as the time of fetching.

        Raises:
            VendorUnavailable: no answer, another answer than 200, too large a one, or not of the kind.
        """
        answers = {
            part: self._get(url, is_list=need.kind == REVOCATION_LIST) for part, url in sorted(need.urls.items())
        }
        try:
            return _items(need, answers, write_moment(now))
        except (CryptoRefused, CollateralInvalid) as error:
            raise VendorUnavailable(f"What came for {need.key} is not a {need.kind}: {error.detail}") from error

    def _get(self, url: str, *, is_list: bool) -> Answer:
        address = self._mirrored(url)
        # A revocation list is signed by itself, and vendors publish theirs over plain HTTP (RFC 5280 §8).
        if not _is_safe(address) and not (is_list and urlsplit(address).scheme == "http"):
            raise VendorUnavailable(f"{address[:200]} is not https.")
        host = urlsplit(address).netloc
        if host in self._silent:
            raise VendorUnavailable(f"{host[:200]} did not answer before; it was not asked for this.")
        self._progress(address)
        for pause in self._pauses:
            try:
                return self._once(address)
            except _Again as again:
                seconds = min(max(pause, again.after), MAX_PAUSE_SECONDS)
                self._progress(f"{again} Again in {seconds:.0f} s.")
                self._sleep(seconds)
        try:
            return self._once(address)
        except _Again as again:
            if again.silent:  # whoever has no network need not wait for each item
                self._silent.add(host)
            raise VendorUnavailable(str(again)) from again

    def _once(self, address: str) -> Answer:
        host = urlsplit(address).netloc[:200]
        try:
            with self._http.stream("GET", address) as answer:
                if answer.status_code in _AGAIN:
                    raise _Again(f"{host} answered {answer.status_code}.", _seconds(answer.headers.get("retry-after")))
                if answer.status_code != httpx.codes.OK:
                    raise VendorUnavailable(f"{host} answered {answer.status_code} for {urlsplit(address).path[:300]}.")
                body = bytearray()
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise VendorUnavailable(f"{host} answered with more than {MAX_ANSWER_BYTES} bytes.")
                return {name.lower(): value for name, value in answer.headers.items()}, bytes(body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Again(f"{host} does not answer ({type(error).__name__}).", 0.0, silent=True) from error

    def _mirrored(self, url: str) -> str:
        for source, target in self._mirrors.items():
            if url == source or url.startswith(f"{source}/"):
                return target + url[len(source) :]
        return url


class _Again(Exception):
    """It may be tried again, after so many seconds; `silent` where there was no answer at all."""

    def __init__(self, text: str, after: float, *, silent: bool = False) -> None:
        super().__init__(text)
        self.after, self.silent = after, silent


def _items(need: CollateralNeed, answers: Mapping[str, Answer], fetched: str) -> list[CollateralItem]:
    if need.kind == INTEL_PCS:
        return [CollateralItem(need.kind, need.key, fetched, assemble_pcs(answers))]
    if set(answers) != {"body"}:
        raise VendorUnavailable(f"{need.key} is made of parts that cannot be put together here.")
    body = answers["body"][1]
    if need.kind == REVOCATION_LIST:
        return [CollateralItem(need.kind, need.key, fetched, RevocationList.from_bytes(body).der)]
    if need.kind == CERTIFICATE:
        pem = body.lstrip().startswith(b"-----BEGIN")
        first, *more = Certificate.from_pem(body) if pem else (Certificate.from_der(body),)
        return [certificate_item(first.der, fetched, need.key), *(certificate_item(each.der, fetched) for each in more)]
    return [CollateralItem(need.kind, need.key, fetched, body)]


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _seconds(text: str | None) -> float:
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) <= 4 else 0.0
