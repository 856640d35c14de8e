"""Units of systemd for a machine of one's own image: a cloud's confidential machine, which no QEMU of ours starts.

Each connection starts a fresh enclave with the connection as its standard input and output: one launch in, events out, as from
every executor. systemd does all the serving; the enclave ends when its connection does, and systemd ends what is left.

Source: systemd.socket(5), systemd.exec(5), systemd.service(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from paddock.errors import ExecutorOptionInvalid

LISTEN = "vsock:5005"
_LISTEN = re.compile(r"(vsock|tcp):([0-9]{1,5})")
_SOCKET = """[Unit]
Description=Launches of Paddock enclaves

[Socket]
ListenStream={listen}
Accept=yes
MaxConnections=4
# Of TCP: a peer that is gone without a word is noticed.
KeepAlive=yes
KeepAliveTimeSec=30
KeepAliveIntervalSec=10
KeepAliveProbes=3

[Install]
WantedBy=sockets.target
"""
_SERVICE = """[Unit]
Description=Paddock enclave, one run
CollectMode=inactive-or-failed

[Service]
ExecStart=/usr/lib/paddock/bin/python3 -I -m paddock.enclave
StandardInput=socket
StandardOutput=socket
StandardError=null
Environment=LANG=C.UTF-8 LC_ALL=C.UTF-8 TZ=UTC HOME=/nonexistent
UnsetEnvironment=LD_PRELOAD LD_LIBRARY_PATH
LimitCORE=0
LimitMEMLOCK=infinity
UMask=0077
KillMode=control-group
TimeoutStopSec=5
# Users' namespaces, mounts and cgroups stay open to it: it builds walls around its jobs with them.
NoNewPrivileges=no
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
# Inputs that are staged in memory go with the run, however it ended.
TemporaryFileSystem=/dev/shm:mode=1777,size=50%%,nr_inodes=1m
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
# That closes all other devices: what makes evidence is opened again, and what mounts views.
DeviceAllow=/dev/sev-guest rw
DeviceAllow=/dev/tdx_guest rw
DeviceAllow=/dev/tpmrm0 rw
DeviceAllow=/dev/fuse rw
ProtectHostname=yes
LockPersonality=yes
SystemCallArchitectures=native
"""
NAMES = ("paddock-enclave.socket", "paddock-enclave@.service")


def listens(text: str) -> str:
    """What `ListenStream=` has for `vsock:PORT` or `tcp:PORT`.

    Raises:
        ExecutorOptionInvalid: it is neither.
    """
    match = _LISTEN.fullmatch(text)
    if match is None or not 0 < int(match[2]) < 1 << 16:
        raise ExecutorOptionInvalid("'listen' reads vsock:PORT or tcp:PORT.")
    return f"vsock::{int(match[2])}" if match[1] == "vsock" else str(int(match[2]))


def units(listen: str) -> Mapping[str, str]:
    """The units, by name.

    Args:
        listen: see `listens`.
    """
    return dict(zip(NAMES, (_SOCKET.format(listen=listen), _SERVICE), strict=True))
