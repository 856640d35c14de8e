"""A TPM of software for a plain machine: its state in a folder, and one process of it for each start.

Every start works on a copy of the state, so that starts can be at the same time and leave nothing: seeds and attestation key stay,
registers begin anew. Who has the folder has the key: what such a TPM vouches for is worth as much as whoever keeps it
(docs/limitations.md).

Source: swtpm(8), swtpm_ioctl(8).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paddock.attest.tpm import TpmAttester
from paddock.errors import AttesterUnavailable, ExecutorFailed
from paddock.executors.machine.tree import program

_STATE = "tpm2-00.permall"
_BANKS = "sha256:all+sha1:none+sha384:none+sha512:none"
_WAIT_SECONDS, _PAUSE_SECONDS, _TOOL_SECONDS = 10.0, 0.02, 60


def make_tpm(folder: Path) -> str:
    """Make a TPM with an attestation key.

    Args:
        folder: new; gets the state, for its owner's eyes alone.

    Returns:
        The key's name, as trust policies name it (`[tpm] roots`).

    Raises:
        ExecutorFailed: a tool is missing or failed.
    """
    folder.mkdir(mode=0o700)
    try:
        with _served(folder) as tcti:
            # Firmware hashes everything once for each bank that is on; one is read.
            tool = str(program("tpm2_pcrallocate", "tpm2-tools"))
            subprocess.run([tool, "-T", tcti, "-Q", _BANKS], check=True, capture_output=True, timeout=_TOOL_SECONDS)  # noqa: S603 - a fixed program
        with _served(folder) as tcti:
            return TpmAttester.from_address(f"tcti={tcti}").prepare("ecc").name
    except (AttesterUnavailable, OSError, subprocess.SubprocessError) as error:
        raise ExecutorFailed("The TPM of software could not be made.") from error


def tpm_key(folder: Path) -> str:
    """The name of a TPM's attestation key.

    Raises:
        ExecutorFailed: there is no TPM, or it does not answer.
    """
    check_tpm(folder)
    try:
        with tempfile.TemporaryDirectory(prefix="paddock-tpm-") as name:
            shutil.copyfile(folder / _STATE, Path(name) / _STATE)
            with _served(Path(name)) as tcti:
                return TpmAttester.from_address(f"tcti={tcti}").key().name
    except (AttesterUnavailable, OSError) as error:
        raise ExecutorFailed("The TPM of software does not answer.") from error


def check_tpm(folder: Path) -> None:
    """Return if a TPM's state is there, and what runs it.

    Raises:
        ExecutorFailed: it is not.
    """
    program("swtpm", "swtpm")
    if not (folder / _STATE).is_file():
        raise ExecutorFailed(f"There is no TPM in {folder}: paddock executor build confidential-vm makes one.")


@dataclass(frozen=True)
class RunningTpm:
    """One process, for one start of a machine.

    Args:
        folder: its copy of the state, and its socket.
        process: of swtpm; ends with the machine.
    """

    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def socket(self) -> Path:
        """What QEMU connects to."""
        return self.folder / "control"

    def end(self) -> None:
        """End it, and remove its copy."""
        _end(self.process)
        shutil.rmtree(self.folder, ignore_errors=True)


def start_tpm(state: Path) -> RunningTpm:
    """Start a TPM on a copy of its state.

    Raises:
        ExecutorFailed: it does not start.
    """
    check_tpm(state)
    folder = Path(tempfile.mkdtemp(prefix="paddock-tpm-"))
    shutil.copyfile(state / _STATE, folder / _STATE)
    arguments = ["--tpmstate", f"dir={folder}", "--ctrl", f"type=unixio,path={folder / 'control'}", "--terminate"]
    running = RunningTpm(folder, _swtpm(arguments))
    for _ in range(int(_WAIT_SECONDS / _PAUSE_SECONDS)):
        if running.socket.exists():
            return running
        time.sleep(_PAUSE_SECONDS)
    running.end()
    raise ExecutorFailed("The TPM of software does not start.")


def _swtpm(arguments: list[str]) -> subprocess.Popen[bytes]:
    command = [str(program("swtpm", "swtpm")), "socket", "--tpm2", *arguments]
    return subprocess.Popen(  # noqa: S603 - a fixed program
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    try:
        process.wait(_WAIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[str]:
    """A TPM on loopback while it is made; its address for tpm2-tss, which expects the control channel one port further."""
    port = _two_ports()
    arguments = ["--tpmstate", f"dir={folder}", "--flags", "not-need-init,startup-clear"]
    arguments += [
        "--server",
        f"type=tcp,bindaddr=127.0.0.1,port={port}",
        "--ctrl",
        f"type=tcp,bindaddr=127.0.0.1,port={port + 1}",
    ]
    process = _swtpm(arguments)
    try:
        for _ in range(int(_WAIT_SECONDS / _PAUSE_SECONDS)):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port + 1), 1):
                break
            time.sleep(_PAUSE_SECONDS)
        yield f"swtpm:host=127.0.0.1,port={port}"
    finally:
        _end(process)


def _two_ports() -> int:
    for _ in range(20):
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                two.bind(("127.0.0.1", port + 1))
                return port
    raise ExecutorFailed("No two free ports were found for the TPM.")
