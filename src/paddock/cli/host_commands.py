"""The commands below `paddock host`: what attests a host by its own key, for levels 2 and 3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from paddock.attest.answering import load_key
from paddock.attest.host import DEFAULT_SOCKET
from paddock.cli.options import JsonOption
from paddock.cli.output import notice, plain, say, say_json
from paddock.errors import AttesterUnavailable

host = typer.Typer(no_args_is_help=True, help="Attests this host by a key of its own: level 2, and 3 with a TPM.")
DEFAULT_KEY = Path("/var/lib/paddock/host.key")
KeyOption = Annotated[Path, typer.Option(help="The host's key file; made at first use.")]


@host.command("serve")
def host_serve(
    key: KeyOption = DEFAULT_KEY,
    listen: Annotated[Path, typer.Option(help="The Unix socket to answer on.")] = DEFAULT_SOCKET,
    tpm: Annotated[
        str | None,
        typer.Option(
            metavar="MEMBERS",
            help="First have this TPM hold the runtime and the key, once in every boot; what follows tpm: in an "
            "attester's address, or nothing: --tpm ''.",
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Sign statements about the runtime that is installed here and the walls that can be built, until you end it.

    Runs are then attested with --attester host:SOCKET, and at level 3 with --attester host:SOCKET+host=tpm.

    Example: paddock host serve --key host.key --listen /run/user/1000/host.sock
    """
    command = [sys.executable, "-I", "-m", "paddock.attest.host_service"]
    command += ["--key", str(key.expanduser().resolve()), "--listen", str(listen.expanduser().resolve())]
    if tpm is not None:
        command += ["--tpm", tpm]
    # A process of its own: nothing else is loaded into the one that holds the key.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - ours
        try:
            line = process.stdout.readline() if process.stdout else b""
            told = json.loads(line) if line else {}
            if not told.get("ready"):
                error = told.get("error") or {}
                raise AttesterUnavailable(error.get("detail") or "The host's attester did not start.")
            address = f"host:{listen.expanduser().resolve()}"
            if json_output:
                say_json({"host": told["host"], "attester": address})
            else:
                notice(f"the host's key, for keepers that mean to accept it: {told['host']}")
                notice(plain(f"--attester {address}" + ("" if tpm is None else f"+host=tpm{':' if tpm else ''}{tpm}")))
            process.wait()
        finally:
            process.terminate()


@host.command("key")
def host_key(key: KeyOption = DEFAULT_KEY, json_output: JsonOption = False) -> None:
    """Show the host's public key, for keepers that mean to accept its statements (keeper policy allow-host).

    Example: paddock host key --key host.key
    """
    try:
        public = load_key(key.expanduser()).verify_key.raw.hex()
    except (OSError, ValueError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is no key"
        raise AttesterUnavailable(f"{key}: {reason}.") from error
    say_json({"host": public}) if json_output else say(public)
