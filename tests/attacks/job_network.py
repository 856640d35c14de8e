"""A malicious job looks for a way to send its inputs out."""

from __future__ import annotations

from paddock.walls import Defence
from tests.attacks.jail import job

_NO_SOCKET = (
    "There are no sockets inside but the channel, no network beyond a loopback of its own, and Landlock forbids TCP."
)
_NET, _CALLS, _LANDLOCK = Defence.NETWORK_NAMESPACE, Defence.SECCOMP, Defence.LANDLOCK

job(
    "tcp",
    "tcp",
    "a TCP connection",
    "The job connects to a server and sends what it was given.",
    _NO_SOCKET,
    "EPERM",
    off=(_NET, _CALLS, _LANDLOCK),
)
job(
    "udp",
    "udp",
    "a UDP datagram",
    "The job sends its inputs in datagrams.",
    _NO_SOCKET,
    "EPERM",
    off=(_NET, _CALLS),
)
job(
    "dns",
    "dns",
    "names as messages (DNS)",
    "The job asks a name server for a name that holds the secret; the attacker runs that server.",
    "There is no socket to ask from, no name server and no configuration that names one.",
    "EPERM",
    off=(_NET, _CALLS),
)
job(
    "listen",
    "listen",
    "a door for others",
    "The job waits for connections from outside.",
    _NO_SOCKET,
    "EPERM",
    off=(_NET, _CALLS, _LANDLOCK),
)
job(
    "raw-socket",
    "raw",
    "raw packets",
    "The job makes packets of its own.",
    "No sockets, and no capability for these in any namespace.",
    "EPERM",
    off=(_CALLS, Defence.CAPABILITIES, Defence.NESTED_NAMESPACES),
)
job(
    "netlink",
    "netlink",
    "the kernel's network configuration",
    "The job speaks to the kernel by netlink, long a source of faults.",
    "No sockets of any family.",
    "EPERM",
    off=(_CALLS,),
)
job(
    "vsock",
    "vsock",
    "a socket to the hypervisor",
    "The job opens a vsock, which no network namespace holds back.",
    "No sockets of any family: the filter does not ask what namespaces contain.",
    "EPERM",
    off=(_CALLS,),
)
job(
    "unix-socket",
    "unix_path",
    "a service of the machine by its path",
    "The job connects to a Unix socket of the host, as that of a container service.",
    "No sockets, and none of the host's paths.",
    "EPERM",
    off=(_CALLS, Defence.IMAGE),
)
job(
    "abstract-socket",
    "unix_abstract",
    "a service of the machine without a path",
    "The job connects to an abstract Unix socket, which needs no file.",
    "No sockets; abstract names belong to the network namespace; Landlock keeps to its own domain.",
    "EPERM",
    off=(_NET, _CALLS, _LANDLOCK),
)
job(
    "datagram-pair",
    "unix_datagram",
    "a nameless pair that can write to any name",
    "The job makes a pair of datagram sockets, one of which can send to every name.",
    "Pairs are of streams alone, and names end at the network namespace and at Landlock's domain.",
    "ENOSYS",
    off=(_NET, _CALLS, _LANDLOCK),
)
job(
    "send-to-address",
    "send_to_address",
    "an address beside a connected socket",
    "The job sends over an allowed pair and names another address.",
    "`sendto` takes no address.",
    "ENOSYS",
    off=(_CALLS,),
)
job(
    "socket-listing",
    "listing",
    "what runs on the machine, from its sockets",
    "The job reads which sockets the host has.",
    "`/proc/net` shows the job's own network namespace.",
    "NOTHING",
    off=(_NET,),
)
