"""The executor `confidential-vm`: machines whose whole image is measured, each for one run.

`image` builds disk and kernel image, `measured` computes what a TPM says after their start, `qemu` writes the command line,
`executor` starts machines and speaks to the enclave in them (docs/adr/0026-machines.md).
"""

from paddock.executors.machine.executor import MachineBuilder, MachineExecutor

__all__ = ["MachineBuilder", "MachineExecutor"]
