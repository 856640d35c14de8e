"""From an address to a store."""

from __future__ import annotations

from pathlib import Path

from paddock.errors import StoreUrlInvalid
from paddock.store.api import Store
from paddock.store.cloud import SCHEMES, CloudOptions, CloudStore, read_address
from paddock.store.folder import FolderStore
from paddock.store.http import HttpStore, SignRequest, Tls

_FOLDER = "folder:"


def open_store(
    url: str, *, sign_request: SignRequest | None = None, timeout_seconds: float = 30.0, tls: Tls | None = None
) -> Store:
    """The store at an address.

    Args:
        url: `folder:/absolute/path`; `s3://bucket/prefix` and others (see `read_address`); or the `http(s)://` address of a hub's blob gateway.
        sign_request: signs uploads to a gateway; None where nothing is uploaded.
        timeout_seconds: how long one answer of a gateway may keep us waiting.
        tls: whom to expect at an https address.

    Raises:
        StoreUrlInvalid: another form.
    """
    if url.startswith(_FOLDER):
        return FolderStore(Path(url.removeprefix(_FOLDER)))
    if url.startswith(SCHEMES):
        return CloudStore(read_address(url), CloudOptions(timeout_seconds=timeout_seconds))
    if url.startswith(("http://", "https://")):
        address = url.partition("#")[0]  # what follows says whom to expect; `tls` knows it
        return HttpStore(address, sign_request=sign_request, timeout_seconds=timeout_seconds, tls=tls)
    raise StoreUrlInvalid
