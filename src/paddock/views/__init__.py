"""Sealed volumes as plain files: in memory for jobs, and from and to folders of the owner's own machine."""

from paddock.views.files import VolumeFiles
from paddock.views.local import LocalFile, LocalFiles, local_files, write_folder

__all__ = ["LocalFile", "LocalFiles", "VolumeFiles", "local_files", "write_folder"]
