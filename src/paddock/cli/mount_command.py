"""`paddock mount`: an own asset as ordinary files, for as long as the command runs."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Annotated

import typer

from paddock.cli.options import DEFAULT_HOME, HomeOption, open_party
from paddock.cli.output import notices, say
from paddock.errors import MountpointInvalid
from paddock.views.mount import READING, Mount, MountOptions, mount_volume, remove_stale
from paddock.views.mount.process import harden, serve_until_signal


def mount(
    name: Annotated[str, typer.Argument(help="Name of an asset of yours (paddock assets).")],
    folder: Annotated[Path, typer.Argument(help="An empty folder; made when it is missing.")],
    executable: Annotated[bool, typer.Option("--executable", help="Let programs be run from the mount.")] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Show an asset of yours as a folder of ordinary files, for you alone, until Ctrl-C. The store keeps ciphertext.

    Every byte is verified before a program sees it; what the store gives wrong or not at all is an I/O error there, and
    its reason is printed here.

    Example: paddock mount records records-shown --home north
    """
    locked = harden()
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    mountpoint = folder.expanduser().absolute()
    if remove_stale(mountpoint):
        say("A mount whose program had died was taken away first.")
    try:
        mountpoint.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MountpointInvalid(f"{mountpoint}: {error.strerror}.") from error
    with open_party(home) as party:

        def start() -> Mount:
            return mount_volume(
                party.open_volume(name, options=READING), mountpoint, options=MountOptions(executable=executable)
            )

        def ready(_mount: Mount) -> None:
            say(f"[bold]{name}[/] is mounted at {mountpoint}, read-only, for you alone. Ctrl-C unmounts it.")
            if not locked:
                notices.print("Memory is not locked (ulimit -l): where this machine swaps, plaintext could be swapped.")

        serve_until_signal(start, ready=ready, end=threading.Event())
