"""The executor `scone`: an SGX enclave by SCONE, with a session of its own for every attempt of a run.

**What SCONE measures is an interpreter and its files, not what it is told to run.** Arguments and variables are the session's
to say, and only an enclave that asks the CAS for its session is held to it: whoever starts the same interpreter without one
runs what they like under the same MRENCLAVE. A keeper that accepted that measurement would release keys to any program. So
this executor tells no measurement for contracts (`measure` refuses), and runs under it have no evidence that a keeper takes.
Nothing that SCONE documents would let a keeper see the session behind an enclave (docs/adr/0028-scone-gives-no-level.md).

Source: SCONE documentation (sconedocs.github.io): SCONE CLI, CAS, environment variables, binary file system.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import ClassVar

from paddock.contract.draft import DEFAULT_MEMORY_BYTES
from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.executors.command import Command, CommandExecutor, environment
from paddock.executors.executor import Built, Launch
from paddock.executors.room import ON_DISK, Room, check_room
from paddock.executors.scone_image import NOTE, Note, SconeEnclave, ask_mrenclave
from paddock.executors.scone_session import TOLERABLE, SconeSession, Tolerance
from paddock.executors.settings import check_settings
from paddock.executors.supervision import Limits
from paddock.executors.texts import plain_address, plain_path, size
from paddock.executors.tools import ASK_SECONDS, find_tool, read_object, run_folder, run_tool, unfinished

SESSION = "session.yaml"
ARGUMENTS = ("-I", "-m", "paddock.enclave")
DEVICES = (Path("/dev/sgx_enclave"), Path("/dev/sgx/enclave"))
_DEFAULT_MEMORY = f"{DEFAULT_MEMORY_BYTES >> 30}GiB"
_HASH = re.compile(r"[0-9a-f]{64}")
"""What the command says of a session that the CAS has taken."""
_NOT_A_MEASUREMENT = (
    "SCONE's MRENCLAVE is that of an interpreter and its files, whatever it is told to run: "
    "no contract may name it (docs/executors/scone.md)."
)


class SconeBuilder:
    """See `Buildable`: asks the sconified interpreter for its MRENCLAVE and writes the template of its sessions."""

    about: ClassVar[str] = "The template of SCONE's sessions, with the interpreter's MRENCLAVE."
    settings: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "program": "the sconified Python interpreter",
            "files": "the library that holds its files: what SCONE's binary file system is compiled to",
            "memory": "the largest limits.memory_bytes of a contract (default: 4GiB)",
            "tolerate": f"states of the platform that sessions accept, of {', '.join(TOLERABLE)} (default: none)",
            "advisories": "Intel's advisories that sessions accept, INTEL-SA-NNNNN,… (default: none)",
        }
    )

    def describe(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        """See `Buildable.describe`; the MRENCLAVE is written as zeros, since none was asked for."""
        return {SESSION: _template(Note(_wanted(settings), "0" * 64))}

    def build(self, folder: Path, settings: Mapping[str, str], said: Callable[[str], None]) -> Built:
        """See `Buildable.build`."""
        wanted = _wanted(settings)
        with unfinished(folder):
            said("asking for the MRENCLAVE")
            note = Note(wanted, ask_mrenclave(wanted, folder))
            (folder / SESSION).write_text(_template(note), encoding="ascii")
            (folder / NOTE).write_text(note.text(), encoding="ascii")
        return Built((SESSION, NOTE), notes=(f"MRENCLAVE {note.mrenclave}.", _NOT_A_MEASUREMENT))


class SconeExecutor(CommandExecutor):
    """Starts an SGX enclave by SCONE (memory encrypted; no evidence for keepers yet).

    Args:
        attester: where, seen from inside, an attestation device answers; SCONE brings none.
        settings: see `SETTINGS`.
        log_folder: where each run's stderr is kept for the operator; None drops it.
        limits: see `Limits`.

    Raises:
        ExecutorOptionInvalid: a setting is unknown, missing or not understood.
    """

    isolated = True
    SETTINGS: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "image": "folder that 'paddock executor build scone' made",
            "cas": "HOST of the CAS, which 'scone cas attest' has attested",
            "las": "HOST[:PORT] of the local attestation service",
            "cli-config": "the scone command's own file, with its identity (default: ~/.cas/config.json)",
            "scone": "the scone command (default: along PATH)",
            "runs": "folder for what runs write, encrypted; the one that the interpreter's files let it reach",
            "device": f"the SGX device (default: {DEVICES[0]})",
        }
    )

    def __init__(
        self,
        *,
        attester: str,
        settings: Mapping[str, str],
        log_folder: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(log_folder=log_folder, limits=limits)
        check_settings(settings, self.SETTINGS, required=("image", "cas", "las", "runs"))
        self._attester = attester
        self._image = Path(settings["image"]).resolve()
        self._cas = plain_address("cas", settings["cas"])
        if ":" in self._cas:  # the command reaches it at another port than enclaves do, and both know theirs
            raise ExecutorOptionInvalid("cas: it is written HOST, without a port.")
        self._las = plain_address("las", settings["las"])
        self._state = Path(settings.get("cli-config", "~/.cas/config.json")).expanduser().resolve()
        self._tool = settings.get("scone", "")
        self._runs = Path(settings["runs"]).resolve()
        plain_path("runs", str(self._runs))
        self._devices = (Path(settings["device"]),) if "device" in settings else DEVICES

    def prepare(self) -> None:
        """See `Executor.prepare`."""
        self._scone()
        enclave = self._note().enclave
        if not os.access(enclave.program, os.X_OK):
            raise ExecutorFailed(f"'{enclave.program}' cannot be run: build the image where the interpreter is.")
        if not os.access(enclave.files, os.R_OK):
            raise ExecutorFailed(
                f"'{enclave.files}' cannot be read: build the image where the interpreter's files are."
            )
        try:
            open_to_others = self._state.stat().st_mode & 0o077
        except OSError as error:
            raise ExecutorFailed(f"cli-config: {error.strerror}. Attest the CAS first: scone cas attest.") from error
        if open_to_others:
            raise ExecutorFailed(
                "cli-config: others can read it, and it holds the key that owns the sessions: chmod 600."
            )
        if not any(device.exists() for device in self._devices):
            raise ExecutorFailed(
                "There is no SGX device here: Linux 5.11 and SGX switched on in the firmware bring it."
            )

    def measure(self) -> str:
        """See `Executor.measure`: refused always, for the reason that the module's first words give."""
        raise ExecutorFailed(_NOT_A_MEASUREMENT)

    def command(self, launch: Launch) -> Command:
        """See `CommandExecutor.command`."""
        note = self._note()
        enclave = note.enclave
        # Scratch files lie on the host's disk, encrypted; SCONE's threads are its own, in the heap, and no number bounds them.
        room = Room(memory_bytes=enclave.memory_bytes, scratch_bytes=ON_DISK, processes=None)
        check_room(launch, room, "An enclave's size is measured: build one with larger 'memory'.")
        folder = run_folder(self._runs, launch)
        clear = partial(shutil.rmtree, folder, ignore_errors=True)
        try:
            session = self._create_session(folder, note, launch)
        except BaseException:
            clear()
            raise
        variables = {
            **environment(None),
            **enclave.variables(),
            "SCONE_CAS_ADDR": self._cas,
            "SCONE_LAS_ADDR": self._las,
            "SCONE_CONFIG_ID": session.configuration,
        }
        return Command((enclave.program,), variables, self._attester, clear)

    def _create_session(self, folder: Path, note: Note, launch: Launch) -> SconeSession:
        scratch = folder / "scratch"
        scratch.mkdir(mode=0o700)
        # Another attempt of the run is another session: its volume begins empty, under another key.
        name = f"paddock-{launch.run}-{secrets.token_hex(8)}"
        session = _session(note, name, PurePosixPath(scratch))
        file = folder / SESSION
        file.write_text(session.text(), encoding="ascii")
        said = run_tool(
            # The command has a default CAS of its own, which need not be the one that the enclave will ask.
            [self._scone(), "session", "create", "--cas", self._cas, "--fail-on-warning", str(file)],
            folder=folder,
            seconds=ASK_SECONDS,
            variables={"SCONE_CLI_CONFIG": str(self._state)},
        )
        if not _HASH.fullmatch(said.strip()):
            raise ExecutorFailed("The CAS confirmed no session: 'scone session create' told no hash.")
        return session

    def _scone(self) -> str:
        return find_tool(self._tool, "scone", "SCONE (docs/executors/scone.md)")

    def _note(self) -> Note:
        return Note.read(read_object(self._image / NOTE))


def _wanted(settings: Mapping[str, str]) -> SconeEnclave:
    check_settings(settings, SconeBuilder.settings, required=("program", "files"))
    tolerance = Tolerance(_list(settings.get("tolerate", "")), _list(settings.get("advisories", "")))
    tolerance.check()
    return SconeEnclave(
        program=plain_path("program", settings["program"]),
        files=plain_path("files", settings["files"]),
        memory_bytes=size("memory", settings.get("memory", _DEFAULT_MEMORY)),
        tolerance=tolerance,
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()


def _session(note: Note, name: str, scratch: PurePosixPath) -> SconeSession:
    enclave = note.enclave
    return SconeSession(name, note.mrenclave, PurePosixPath(enclave.program), ARGUMENTS, scratch, enclave.tolerance)


def _template(note: Note) -> str:
    return _session(note, "paddock-run", PurePosixPath("/var/lib/paddock/runs/RUN/scratch")).text()
