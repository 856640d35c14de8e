"""The executor `nitro`: enclaves of AWS Nitro, each for one run.

`eif` writes and reads enclave image files and computes what the hypervisor measures of them, `boot` makes what an enclave starts with,
`build` builds an image, `passage` is both ends of the way between an instance and its enclave, `tool` speaks to `nitro-cli`,
`executor` starts enclaves (docs/adr/0029-nitro-enclaves.md).
"""

from paddock.executors.nitro.build import NitroBuilder
from paddock.executors.nitro.executor import NitroExecutor

__all__ = ["NitroBuilder", "NitroExecutor"]
