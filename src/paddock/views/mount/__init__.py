"""Sealed volumes and drafts as file systems of the kernel (FUSE), for programs that know nothing of Paddock."""

from paddock.views.mount.device import remove_stale
from paddock.views.mount.server import Mount, MountError, Statistics
from paddock.views.mount.volume import READING, MountOptions, mount_volume
from paddock.views.mount.writable import mount_draft

__all__ = [
    "READING",
    "Mount",
    "MountError",
    "MountOptions",
    "Statistics",
    "mount_draft",
    "mount_volume",
    "remove_stale",
]
