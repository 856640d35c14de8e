"""Sealed volumes as plain files: in memory for jobs, and from and to folders of the owner's own machine.

Beside them: `views.mount`, the same as a file system of the kernel, and `views.drafts`, trees that are written sealed.
"""

from paddock.views.files import VolumeFiles
from paddock.views.local import LocalFile, LocalFiles, local_files, write_folder

__all__ = ["LocalFile", "LocalFiles", "VolumeFiles", "local_files", "write_folder"]
