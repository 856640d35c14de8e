"""A reference boot: the machine is started once to be measured, and tells its TPM's registers before it looks for a disk.

It checks that firmware measures what is computed from an image, and gives the one register that cannot be computed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from paddock.errors import ExecutorFailed
from paddock.executors.command import environment
from paddock.executors.machine.measured import check_reference
from paddock.executors.machine.qemu import Shape, Start, arguments
from paddock.executors.machine.tpm import start_tpm

_SECONDS = 180
_MOST_BYTES = 1 << 16


def reference_register(shape: Shape, program: str, kernel_image: Path, tpm: Path) -> str:
    """PCR 0 of a machine of that shape, as hex.

    Args:
        shape: a plain machine.
        program: QEMU.
        kernel_image: one whose command line asks for it.
        tpm: the folder of a TPM.

    Raises:
        ExecutorFailed: it did not start, or its firmware measures otherwise than is computed.
    """
    running = start_tpm(tpm)
    try:
        words = arguments(shape, Start(program, kernel_image, None, running.socket))
        done = subprocess.run(  # noqa: S603 - the executor's own command
            words, env=environment(None), stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ExecutorFailed("The reference boot did not end.") from error
    finally:
        running.end()
    told: dict[int, str] = {}
    for row in done.stdout[:_MOST_BYTES].decode("ascii", "replace").splitlines():
        number, _, value = row.partition(" ")
        if number.isdigit():
            told[int(number)] = value.strip().lower()
    if not told:
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        raise ExecutorFailed(f"The reference boot told nothing. {said[-1][:200] if said else ''}")
    return check_reference(kernel_image.read_bytes(), told)
