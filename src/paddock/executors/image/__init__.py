"""The runtime image: the part of the installed runtime that an enclave needs, pruned, compiled and packed.

What is installed is measured by `evidence.measurement`; what environments like Gramine measure is the image made here. Listing
is pure of side effects, writing is apart (docs/adr/0023-runtime-image.md).
"""

from paddock.executors.image.image import Image, ImageFile, read_image
from paddock.executors.image.listing import ENCLAVE, Listing, list_runtime
from paddock.executors.image.writing import write_image

__all__ = ["ENCLAVE", "Image", "ImageFile", "Listing", "list_runtime", "read_image", "write_image"]
