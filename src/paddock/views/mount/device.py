"""Mounting and unmounting through fusermount3, and descriptors of /dev/fuse.

fusermount3 (Debian: fuse3) is the setuid program of libfuse that mounts for ordinary users, under the rules of
/etc/fuse.conf. It opens /dev/fuse, mounts, and passes the descriptor over a socket that it inherits.

Source: libfuse 3, util/fusermount.c (_FUSE_COMMFD, SCM_RIGHTS); linux/fuse.h (FUSE_DEV_IOC_CLONE).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
import stat
import struct
import subprocess
from pathlib import Path

from paddock.errors import MountpointInvalid, MountUnavailable
from paddock.views.mounts import mounts

_CLONE = 0x8004E500  # _IOR(229, 0, uint32_t)
_DEVICE = "/dev/fuse"
_WAIT_SECONDS = 30


def attach(mountpoint: Path, options: tuple[str, ...]) -> int:
    """Mount, and return the descriptor over which the kernel asks.

    Args:
        mountpoint: an empty folder of one's own.
        options: as fusermount3 takes them, e.g. `ro`.

    Raises:
        MountUnavailable: /dev/fuse or fusermount3 is missing, or mounting is refused.
        MountpointInvalid: the folder cannot be mounted upon.
    """
    check_mountpoint(mountpoint)
    helper = _helper()
    if not Path(_DEVICE).exists():
        raise MountUnavailable(f"{_DEVICE} is missing.")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours:
        ours.settimeout(_WAIT_SECONDS)
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - the program was looked up on PATH, the arguments are ours
                [helper, "-o", ",".join(options), "--", str(mountpoint)],
                env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        try:
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1, socket.MSG_CMSG_CLOEXEC)
            _, said = process.communicate(timeout=_WAIT_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.communicate()
            raise MountUnavailable("fusermount3 did not answer.") from None
    if process.returncode or len(descriptors) != 1:
        for descriptor in descriptors:
            os.close(descriptor)
        raise MountUnavailable(f"fusermount3 says: {_first_line(said)}")
    return int(descriptors[0])


def check_mountpoint(mountpoint: Path) -> None:
    """Return if a folder can be mounted upon.

    Raises:
        MountpointInvalid: not an absolute path, no folder, not empty, or a mount is there already.
    """
    if not mountpoint.is_absolute():
        raise MountpointInvalid(f"{mountpoint} is not an absolute path.")
    try:
        status = mountpoint.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise MountpointInvalid(f"{mountpoint} is not a folder.")
        if any(mountpoint.iterdir()):
            raise MountpointInvalid(f"{mountpoint} is not empty.")
    except OSError as error:
        raise MountpointInvalid(f"{mountpoint}: {os.strerror(error.errno or 0)}.") from error
    if os.path.ismount(mountpoint):
        raise MountpointInvalid(f"Something is mounted at {mountpoint} already.")


def clone(descriptor: int) -> int:
    """Another descriptor of the same mount, with a queue of its own for what it has taken."""
    other = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(other, _CLONE, struct.pack("=I", descriptor))
    except OSError:
        os.close(other)
        raise
    return other


def detach(mountpoint: Path, *, lazy: bool) -> None:
    """Unmount.

    Args:
        mountpoint: where.
        lazy: take the name away now, also from under programs that still use files there.

    Raises:
        MountUnavailable: it is in use (not with `lazy`), or fusermount3 refuses.
    """
    # -u unmount, -q no words of its own about what it cannot find, -z lazy
    done = subprocess.run(  # noqa: S603 - as above
        [_helper(), "-u", *(["-z"] if lazy else []), "--", str(mountpoint)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=_WAIT_SECONDS,
    )
    if done.returncode:
        raise MountUnavailable(f"fusermount3 says: {_first_line(done.stderr)}")


def remove_stale(mountpoint: Path) -> bool:
    """Take away a mount whose server is dead (it answers ENOTCONN). Any other mount stays.

    Returns:
        Whether there was one.
    """
    try:
        # Not stat: the kernel may still know the attributes of the root, and answer for the dead.
        os.statvfs(mountpoint)
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            return False
        detach(mountpoint, lazy=True)
        return True
    return False


def enlarge_readahead(mountpoint: Path, size_bytes: int) -> bool:
    """Let the kernel read ahead further than its default of 128 KiB. Only root may.

    The mount itself is not asked for its number: were this process, which serves it, killed while it waits for its own
    answer, the kernel would wait for ever, and keep the process.

    Returns:
        Whether it was done.
    """
    place = mountpoint.parent.resolve() / mountpoint.name
    numbers = [each.device for each in mounts() if each.place == place]
    if not numbers:
        return False
    setting = Path(f"/sys/class/bdi/{numbers[-1]}/read_ahead_kb")
    with contextlib.suppress(OSError):
        setting.write_text(str(size_bytes >> 10), encoding="ascii")
        return True
    return False


def _helper() -> str:
    found = shutil.which("fusermount3")
    if found is None:
        raise MountUnavailable("fusermount3 is not installed (Debian: apt-get install fuse3).")
    return found


def _first_line(said: bytes) -> str:
    text = said.decode("utf-8", "replace").strip().partition("\n")[0]
    return "".join(ch for ch in text[:300] if ch.isprintable()) or "nothing"
