"""The blob gateway: ciphertext in and out. Whoever reads it learns nothing that the store's operator does not know."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator

import anyio.from_thread
import anyio.to_thread
from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from paddock.crypto.digest import unb64
from paddock.crypto.dsse import Envelope
from paddock.errors import EncodingRefused, GrantEnded, NoSuchObject, ObjectExists, RangeRefused, RequestRefused
from paddock.hub.hub import Hub
from paddock.hub.requests import accept_request
from paddock.store.api import check_name

HEADER = "paddock-request"
_PART_BYTES = 1 << 20
_MAX_HEADER = 64 << 10
_DRAINED_BYTES = 64 << 20
_RANGE = re.compile(r"bytes=(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))")


async def put_blob(hub: Hub, request: Request, name: str) -> dict[str, int | str]:
    """Take an object from a known party, in pieces; it appears whole or not at all.

    Raises:
        RequestRefused, SenderUnknown, RequestReplayed: the `Paddock-Request` header does not pass.
        ObjectExists, ObjectNameRefused, StoreFull: see `Store.put`.
        BodyTooLarge: larger than the hub takes.
    """
    return await _put(hub, request, name, lambda: _check_upload(hub, request.headers.get(HEADER, ""), name))


async def put_granted(hub: Hub, request: Request, token: str, name: str) -> dict[str, int | str]:
    """Take an object from a run. Raises as `put_blob`, and GrantEnded."""
    return await _put(hub, request, name, lambda: _check_granted(hub, token, name))


async def _put(hub: Hub, request: Request, name: str, check: Callable[[], None]) -> dict[str, int | str]:
    stream = request.stream()
    try:
        await run_in_threadpool(check)
    except ObjectExists:
        # Read what is on its way, within reason: closing at once would hide this answer from the sender.
        await _drain(stream)
        raise
    # Its own few threads: slow senders must not take those that answer everybody else.
    size = await anyio.to_thread.run_sync(hub.blobs.put, name, _pieces(stream), limiter=hub.uploads)
    return {"name": name, "size": size}


def get_blob(hub: Hub, request: Request, name: str) -> Response:
    """An object, or one range of it."""
    size = hub.blobs.size(name)
    start, end = 0, size
    status, headers = 200, {"accept-ranges": "bytes"}
    asked = request.headers.get("range")
    if asked is not None:
        start, end = _read_range(asked, size)
        status, headers["content-range"] = 206, f"bytes {start}-{end - 1}/{size}"
    headers["content-length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type="application/octet-stream")
    parts = _parts(hub, name, start, end)
    return StreamingResponse(parts, status, headers, media_type="application/octet-stream")


def _check_granted(hub: Hub, token: str, name: str) -> None:
    run = hub.grants.check(token)
    check_name(name)
    if name.startswith("checkpoints/") and not name.startswith(f"checkpoints/{run}/"):
        raise GrantEnded("It is not for checkpoints of another run.")
    if _is_there(hub, name):
        raise ObjectExists(f"{name}.")


def _check_upload(hub: Hub, header: str, name: str) -> None:
    check_name(name)
    if len(header) > _MAX_HEADER:
        raise RequestRefused("Its header is too large.")
    try:
        envelope = Envelope.from_json(unb64(header), max_bytes=_MAX_HEADER)
    except EncodingRefused as error:
        raise RequestRefused("An upload needs a signed request in its header.") from error
    members = frozenset({"name"})
    with hub.database.write() as connection:
        request = accept_request(connection, envelope, action="store.put", members=members, now=hub.now())
        if request.body["name"] != name:
            raise RequestRefused("It was signed for another name.")
    if _is_there(hub, name):
        raise ObjectExists(f"{name}.")


def _is_there(hub: Hub, name: str) -> bool:
    try:
        hub.blobs.size(name)
    except NoSuchObject:
        return False
    return True


async def _drain(stream: AsyncIterator[bytes]) -> None:
    left = _DRAINED_BYTES
    async for piece in stream:
        left -= len(piece)
        if left < 0:
            return


def _pieces(stream: AsyncIterator[bytes]) -> Iterator[bytes]:
    # Runs on a worker thread; each piece is fetched from the event loop, so that no more than one is in memory.
    while (piece := anyio.from_thread.run(_next, stream)) is not None:
        if piece:
            yield piece


async def _next(stream: AsyncIterator[bytes]) -> bytes | None:
    return await anext(stream, None)


def _parts(hub: Hub, name: str, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        part = hub.blobs.read(name, start, min(_PART_BYTES, end - start))
        if not part:
            return  # it became shorter: the answer ends early and the reader notices
        yield part
        start += len(part)


def _read_range(text: str, size: int) -> tuple[int, int]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise RangeRefused
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
    if not start < end:
        raise RangeRefused(f"The object has {size} bytes.")
    return start, end
