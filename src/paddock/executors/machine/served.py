"""Machines that are not ours to start: a cloud's confidential machine, or one with an image of its own, where systemd serves the enclave.

Each connection starts a fresh enclave there (`units`): the launch goes in, events come out, and the enclave ends with the connection. A small
program holds the connection (`connect`), so that a run is supervised like every program: the same bounds of lines and
events, the same ways to stop it.

Nothing on the way is trusted. The launch is public; what somebody between changes in it can stop the run, point the machine at other addresses, or
show that a run was asked for: contract and keepers are recognised by signatures, bytes by digests, and events by the receipt's.

Source: vsock(7), tcp(7); systemd.socket(5).
"""

from __future__ import annotations

import json
import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.executors.command import Command, environment
from paddock.executors.executor import Launch
from paddock.executors.machine.routes import reached

_PROGRAM = Path(__file__).with_name("connect.py")
_VSOCK = re.compile(r"vsock:([0-9]{1,10}):([0-9]{1,10})")
_TCP = re.compile(r"tcp:(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)):([0-9]{1,5})")
_ANY = 0xFFFFFFFF  # of vsock: VMADDR_CID_ANY, VMADDR_PORT_ANY
SILENCE_SECONDS = 120
"""Between connecting and the first event: an enclave says that it has booted before it does anything else."""
_CONNECT_SECONDS = 20.0


@dataclass(frozen=True)
class Address:
    """Where a machine serves.

    Args:
        family: `vsock` or `tcp`.
        host: a number (CID) of vsock, a name or number of TCP.
        port: of either.
    """

    family: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.family}:{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


@dataclass(frozen=True)
class ServedSettings:
    """How a served machine is reached.

    Args:
        address: see `Address`.
        attester: how evidence is made inside.
    """

    address: Address
    attester: str


def read_address(text: str) -> Address:
    """`vsock:CID:PORT` or `tcp:HOST:PORT`.

    Raises:
        ExecutorOptionInvalid: it is neither.
    """
    if match := _VSOCK.fullmatch(text):
        # 0 is the hypervisor's own.
        if 0 < int(match[1]) < _ANY and 0 < int(match[2]) < _ANY:
            return Address("vsock", str(int(match[1])), int(match[2]))
    elif (match := _TCP.fullmatch(text)) and 0 < int(match[3]) < 1 << 16:
        return Address("tcp", match[1] or match[2], int(match[3]))
    raise ExecutorOptionInvalid("'address' reads vsock:CID:PORT or tcp:HOST:PORT.")


def check_served(address: Address) -> None:
    """Return if something answers there.

    Raises:
        ExecutorFailed: nothing does.
    """
    try:
        if address.family == "tcp":
            socket.create_connection((address.host, address.port), _CONNECT_SECONDS).close()
            return
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as tried:
            tried.settimeout(_CONNECT_SECONDS)
            tried.connect((int(address.host), address.port))
    except OSError as error:
        raise ExecutorFailed(f"No machine answers at {address}.") from error


def served_command(chosen: ServedSettings, launch: Launch) -> Command:
    """What holds the connection of one run.

    Raises:
        ExecutorFailed: the launch names a folder of the host, which no other machine sees.
    """
    for named in (launch.store, *launch.keepers.values()):
        reached(named)
    address = chosen.address
    refused = _failed(f"No machine answers at {address}."), _failed(f"The machine at {address} says nothing.")
    program = [sys.executable, "-I", "-S", str(_PROGRAM), address.family, address.host, str(address.port)]
    return Command([*program, str(SILENCE_SECONDS), *refused], environment(None), chosen.attester)


def _failed(words: str) -> str:
    return json.dumps({"event": "failed", "error": ExecutorFailed(words).as_dict()})
