"""Sealed volumes as plain files: in memory for jobs, and from and to folders of the owner's own machine."""

from paddock.views.files import VolumeFiles

__all__ = ["VolumeFiles"]
