"""The runtime image: the part of the installed runtime that an enclave needs, pruned, compiled and packed.

What is installed is measured by `evidence.measurement`; what environments like Gramine measure is the image made here. Listing
is pure of side effects, writing is apart (docs/adr/0023-runtime-image.md).
"""

from paddock.executors.image.image import Image, ImageFile, read_image
from paddock.executors.image.layout import ROOT, start_command, start_environment
from paddock.executors.image.listing import ENCLAVE, Listing, list_runtime
from paddock.executors.image.writing import hash_files, write_image

__all__ = [
    "ENCLAVE",
    "ROOT",
    "Image",
    "ImageFile",
    "Listing",
    "hash_files",
    "list_runtime",
    "read_image",
    "start_command",
    "start_environment",
    "write_image",
]
