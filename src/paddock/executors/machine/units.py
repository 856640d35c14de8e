"""Units of systemd for a machine of one's own image: a cloud's confidential machine, which no QEMU of ours starts.

Each connection starts a fresh enclave with the connection as its standard input and output: one launch in, events out, as from
every executor. systemd does all the serving.

Source: systemd.socket(5), systemd.exec(5), systemd.service(5).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PORT = 5005
_SOCKET = f"""[Unit]
Description=Launches of Paddock enclaves

[Socket]
ListenStream=vsock::{PORT}
Accept=yes
MaxConnections=4
RemoveOnStop=no

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
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
LockPersonality=yes
SystemCallArchitectures=native
"""
UNITS: Mapping[str, str] = MappingProxyType({"paddock-enclave.socket": _SOCKET, "paddock-enclave@.service": _SERVICE})
