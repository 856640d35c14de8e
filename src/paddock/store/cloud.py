"""Stores in clouds: S3 and what speaks it, Google Cloud Storage, Azure Blob Storage, by way of `obstore`.

Who reads or writes them is known there by credentials of the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
`AWS_SESSION_TOKEN`; `GOOGLE_…`, `AZURE_…`; or the machine's role). They stand in no address, contract or log.

Needs `pip install 'paddock[s3]'`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from paddock.errors import (
    NoSuchObject,
    ObjectExists,
    StoreDenied,
    StoreExtraMissing,
    StoreFull,
    StoreMisbehaved,
    StoreUnreachable,
    StoreUrlInvalid,
)
from paddock.store.api import Buffer, check_name

SCHEMES = ("s3://", "gs://", "az://")
_PARAMETERS = {"endpoint", "region", "style"}
_STYLES = {"path", "virtual"}
_MOST_STREAM_BYTES = 1 << 20


@dataclass(frozen=True)
class CloudOptions:
    """How a cloud is asked. An upload holds about `part_bytes * (at_once + 2)` in memory.

    Args:
        part_bytes: pieces of a large upload, at least 5 MiB (what S3 takes).
        at_once: pieces that are under way at the same time.
        timeout_seconds: how long one answer may take.
        attempts: how often a request is tried again that failed at the other end, with growing pauses.
        patience_seconds: after which it is not tried again.
    """

    part_bytes: int = 8 << 20
    at_once: int = 8
    timeout_seconds: float = 60.0
    attempts: int = 5
    patience_seconds: float = 120.0


@dataclass(frozen=True)
class CloudAddress:
    """Where a store is: `s3://bucket/prefix?endpoint=https://…&region=…&style=path`.

    Args:
        kind: `s3`, `gs` or `az`.
        bucket: bucket or container.
        prefix: stands before every name; may be empty.
        endpoint: of an S3 service that is not Amazon's.
        region: as the service calls it.
        style: `path` (the bucket is a part of the path) or `virtual` (of the host name).
    """

    kind: str
    bucket: str
    prefix: str
    endpoint: str | None = None
    region: str | None = None
    style: str = "path"


def read_address(url: str) -> CloudAddress:
    """Read an address strictly.

    Raises:
        StoreUrlInvalid: another form, a parameter that is not known, or something like credentials in it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise StoreUrlInvalid("It is not well formed.") from None
    parameters = dict(given)
    if f"{parts.scheme}://" not in SCHEMES or not parts.hostname or port is not None or parts.fragment:
        raise StoreUrlInvalid("It is not of the form s3://bucket/prefix.")
    if "@" in parts.netloc or not set(parameters) <= _PARAMETERS or len(given) != len(parameters):
        raise StoreUrlInvalid("It holds a bucket, a prefix, endpoint, region and style; credentials never.")
    if parts.scheme != "s3" and parameters:
        raise StoreUrlInvalid("Endpoint, region and style are said of s3 addresses only.")
    endpoint = parameters.get("endpoint")
    if endpoint is not None:
        place = urlsplit(endpoint)
        if place.scheme not in {"http", "https"} or not place.hostname or "@" in place.netloc or place.query:
            raise StoreUrlInvalid("Its endpoint is no http(s) address.")
    style = parameters.get("style", "path" if endpoint else "virtual")
    if style not in _STYLES:
        raise StoreUrlInvalid("Its style is neither path nor virtual.")
    prefix = parts.path.strip("/")
    if prefix:
        check_name(prefix)
    return CloudAddress(parts.scheme, parts.netloc, prefix, endpoint, parameters.get("region"), style)


class CloudStore:
    """Objects in a bucket. Nothing that it answers is trusted. Safe to use from several threads.

    Large objects are uploaded in pieces at the same time, and appear when the last one is there. An upload that is
    killed leaves no object; what it left of pieces is seen by the bucket's owner alone and removed by a rule of the
    bucket (`AbortIncompleteMultipartUpload`).

    Args:
        address: where.
        options: how; None for the defaults.

    Raises:
        StoreExtraMissing: obstore is not installed.
        StoreUrlInvalid: the address, or what the environment says of it, is not understood.
    """

    def __init__(self, address: CloudAddress, options: CloudOptions | None = None) -> None:
        self._options = options or CloudOptions()
        try:
            import obstore  # noqa: PLC0415 - an extra: the core works without it
        except ImportError:
            raise StoreExtraMissing from None
        self._obstore = obstore
        self._errors = obstore.exceptions
        self._inner = self._connect(address)
        self._creates = True  # until the service says that it knows no conditional writes

    def _connect(self, address: CloudAddress) -> Any:
        stores, options = self._obstore.store, self._options
        shared: dict[str, Any] = {
            "prefix": address.prefix or None,
            "client_options": {
                "timeout": timedelta(seconds=options.timeout_seconds),
                "connect_timeout": timedelta(seconds=min(10.0, options.timeout_seconds)),
                "allow_http": (address.endpoint or "").startswith("http://"),
            },
            "retry_config": {
                "max_retries": options.attempts,
                "retry_timeout": timedelta(seconds=options.patience_seconds),
            },
        }
        try:
            if address.kind == "gs":
                return stores.GCSStore(address.bucket, **shared)
            if address.kind == "az":
                return stores.AzureStore(address.bucket, **shared)
            config = {
                "endpoint": address.endpoint,
                "region": address.region,
                "virtual_hosted_style_request": address.style == "virtual",
            }
            given = {key: value for key, value in config.items() if value is not None}
            return stores.S3Store(address.bucket, **shared, **given)
        except self._errors.BaseError as error:
            raise StoreUrlInvalid(_words(error)) from None

    def put(self, name: str, chunks: Iterable[Buffer]) -> int:
        """See `Store.put`. Where the service knows conditional writes, an object up to `part_bytes` is never replaced;
        larger ones, and elsewhere, are looked for first: two writers of one name at one instant are not told apart.
        Names of volumes are random.
        """
        check_name(name)
        body = _Body(chunks)
        begin = body.first(self._options.part_bytes + 1)
        with self._told(name):
            if len(begin) <= self._options.part_bytes:
                self._put_small(name, begin)
                return len(begin)
            if self._exists(name):
                raise ObjectExists(f"{name}.")
            try:
                self._obstore.put(
                    self._inner,
                    name,
                    chain([begin], body),
                    use_multipart=True,
                    chunk_size=self._options.part_bytes,
                    max_concurrency=self._options.at_once,
                )
            except BaseException:
                if body.failure is not None:
                    raise body.failure from None
                raise
        return body.count

    def _put_small(self, name: str, data: bytes) -> None:
        if self._creates:
            try:
                self._obstore.put(self._inner, name, data, mode="create", use_multipart=False)
            except self._errors.NotSupportedError:
                self._creates = False
            except self._errors.GenericError as error:
                if "NotImplemented" not in _words(error):
                    raise
                self._creates = False
            else:
                return
        if self._exists(name):
            raise ObjectExists(f"{name}.")
        self._obstore.put(self._inner, name, data, use_multipart=False)

    def _exists(self, name: str) -> bool:
        try:
            self._obstore.head(self._inner, name)
        except (FileNotFoundError, self._errors.NotFoundError):
            return False
        return True

    def read(self, name: str, offset: int, length: int) -> bytes:
        """See `Store.read`; one request, of which no more is kept than was asked."""
        if length <= 0:
            return b""
        check_name(name)
        with self._told(name):
            try:
                answer = self._obstore.get(self._inner, name, options={"range": (offset, offset + length)})
            except self._errors.GenericError:
                # Behind the end: services say it in words of their own.
                if offset >= self.size(name):
                    return b""
                raise
            if answer.range[0] != offset:
                raise StoreMisbehaved(f"{name}: it gave another range.")
            out = bytearray()
            for piece in answer.stream(min_chunk_size=min(length, _MOST_STREAM_BYTES)):
                out += memoryview(piece)
                if len(out) > length:
                    raise StoreMisbehaved(f"{name}: it gave more bytes than were asked.")
        return bytes(out)

    def size(self, name: str) -> int:
        """See `Store.size`."""
        with self._told(name):
            return int(self._obstore.head(self._inner, check_name(name))["size"])

    def delete(self, name: str) -> None:
        """See `Store.delete`."""
        self.size(name)  # clouds delete what is not there without a word
        with self._told(name):
            self._obstore.delete(self._inner, name)

    def signed(self, name: str, *, seconds: int) -> str:
        """An address under which this one object can be read, by whoever has it, for some seconds.

        Raises:
            StoreDenied: there are no credentials to sign with.
        """
        with self._told(name):
            return str(self._obstore.sign(self._inner, "GET", check_name(name), timedelta(seconds=seconds)))

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Turn obstore's errors into ours. Messages bear the object's name, not the bucket's or an address."""
        errors = self._errors
        try:
            yield
        except (FileNotFoundError, errors.NotFoundError):
            raise NoSuchObject(f"{name}.") from None
        except (errors.AlreadyExistsError, errors.PreconditionError):
            raise ObjectExists(f"{name}.") from None
        except (PermissionError, errors.PermissionDeniedError, errors.UnauthenticatedError):
            raise StoreDenied(f"{name}: credentials are missing, wrong or not enough.") from None
        except errors.BaseError as error:
            words = _words(error)
            if any(mark in words for mark in _NO_ROOM):
                raise StoreFull(f"While {name} was written.") from None
            if any(mark in words for mark in _DENIED):
                raise StoreDenied(f"{name}: credentials are missing, wrong or not enough.") from None
            raise StoreUnreachable(f"{name}: {_reason(words)}.") from None


class _Body:
    """The pieces of an upload, counted and copied: their maker uses each again. Keeps what their maker raised."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = iter(chunks)
        self.count = 0
        self.failure: BaseException | None = None

    def first(self, most: int) -> bytes:
        """The beginning: at least `most` bytes, or all."""
        begin = bytearray()
        for chunk in self:
            begin += chunk
            if len(begin) >= most:
                break
        return bytes(begin)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = bytes(next(self._chunks))
        except StopIteration:
            raise
        except BaseException as error:
            self.failure = error
            raise
        self.count += len(chunk)
        return chunk


_NO_ROOM = ("507 Insufficient", "QuotaExceeded", "413 Request Entity", "413 Payload", "StorageFull")
_DENIED = ("401 Unauthorized", "403 Forbidden", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch",
           "CredentialsError", "missing credentials")  # fmt: skip
_REASONS = (
    ("NoSuchBucket", "there is no such bucket"),
    ("timed out", "it took too long"),
    ("error sending request", "no connection"),
    ("Connect", "no connection"),
    ("dns error", "its name is not known"),
)


def _words(error: Exception) -> str:
    return str(error)


def _reason(words: str) -> str:
    """What went wrong, without the address and the answer that obstore cites."""
    return next((reason for mark, reason in _REASONS if mark in words), "the service failed")
