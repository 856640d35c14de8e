"""The executor `scone`: an SGX enclave by SCONE, with a session of its own for every run.

**What SCONE measures is the interpreter, not what it runs.** Which code, arguments and variables it gets is the session's to
say, and only an enclave that asks the CAS for its session is held to it: whoever starts the same interpreter without one
runs what they like under the same MRENCLAVE. A keeper that accepted that measurement would release keys to any program. So
this executor tells no measurement for contracts (`measure` refuses), and runs under it have no evidence that a keeper takes:
that needs a provider that verifies the CAS and its session, which does not exist yet (docs/executors/scone.md).

Source: SCONE documentation (sconedocs.github.io): SCONE CLI, CAS, environment variables.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import ClassVar

from paddock.contract.draft import DEFAULT_MEMORY_BYTES
from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.executors.command import Command, CommandExecutor, environment
from paddock.executors.executor import Built, Launch
from paddock.executors.scone_session import SconeSession
from paddock.executors.settings import check_settings
from paddock.executors.supervision import Limits
from paddock.executors.texts import plain_address, plain_path, size
from paddock.executors.tools import ASK_SECONDS, asked_limits, find_tool, read_object, run_folder, run_tool, unfinished

NOTE, SESSION = "built.json", "session.yaml"
ARGUMENTS = ("-I", "-m", "paddock.enclave")
DEVICES = (Path("/dev/sgx_enclave"), Path("/dev/sgx/enclave"))
RUNTIME_BYTES = 1 << 30
"""What interpreter and PaddlePaddle take of the heap beside the contract's memory."""
_MIB = 1 << 20
_MRENCLAVE = re.compile(r"[0-9a-f]{64}")
_NOT_A_MEASUREMENT = (
    "SCONE's MRENCLAVE is that of the interpreter, whatever it runs: no contract may name it (docs/executors/scone.md)."
)


class SconeBuilder:
    """See `Buildable`: asks the sconified interpreter for its MRENCLAVE and writes the template of its sessions."""

    about: ClassVar[str] = "The template of SCONE's sessions, with the interpreter's MRENCLAVE."
    settings: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "program": "the sconified Python interpreter",
            "memory": "the largest limits.memory_bytes of a contract (default: 4GiB)",
        }
    )

    def describe(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        """See `Buildable.describe`; the MRENCLAVE is written as zeros, since none was asked for."""
        check_settings(settings, self.settings, required=("program",))
        size("memory", settings.get("memory", _DEFAULT_MEMORY))
        return {SESSION: _template(settings["program"], "0" * 64)}

    def build(self, folder: Path, settings: Mapping[str, str], said: Callable[[str], None]) -> Built:
        """See `Buildable.build`."""
        check_settings(settings, self.settings, required=("program",))
        memory = size("memory", settings.get("memory", _DEFAULT_MEMORY))
        program = plain_path("program", settings["program"])
        with unfinished(folder):
            said("asking for the MRENCLAVE")
            found = ask_mrenclave(program, memory, folder)
            (folder / SESSION).write_text(_template(program, found), encoding="ascii")
            note = {"program": program, "mrenclave": found, "memory_bytes": memory}
            (folder / NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="ascii")
        return Built((SESSION, NOTE), notes=(f"MRENCLAVE {found}.", _NOT_A_MEASUREMENT))


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
            "cas": "HOST[:PORT] of the CAS, which 'scone cas attest' has attested",
            "las": "HOST[:PORT] of the local attestation service",
            "cli-config": "the scone command's own file, with its identity (default: ~/.cas/config.json)",
            "scone": "the scone command (default: along PATH)",
            "runs": "folder for what runs write, encrypted (default: a fresh one in the system's temporary folder)",
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
        check_settings(settings, self.SETTINGS, required=("image", "cas", "las"))
        self._attester = attester
        self._image = Path(settings["image"]).resolve()
        self._cas = plain_address("cas", settings["cas"])
        self._las = plain_address("las", settings["las"])
        self._state = Path(settings.get("cli-config", "~/.cas/config.json")).expanduser().resolve()
        self._tool = settings.get("scone", "")
        self._runs = Path(settings["runs"]).resolve() if "runs" in settings else None
        if self._runs is not None:
            plain_path("runs", str(self._runs))
        self._devices = (Path(settings["device"]),) if "device" in settings else DEVICES

    def prepare(self) -> None:
        """See `Executor.prepare`."""
        self._scone()
        note = self._note()
        if not os.access(note.program, os.X_OK):
            raise ExecutorFailed(f"'{note.program}' cannot be run: build the image where the interpreter is.")
        try:
            open_to_others = self._state.stat().st_mode & 0o077
        except OSError as error:
            raise ExecutorFailed(
                f"cli-config: {error.strerror}. Attest the CAS first: scone cas attest {self._cas} MRENCLAVE."
            ) from error
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
        limits = asked_limits(launch)
        if limits is not None and limits.memory_bytes > note.memory_bytes:
            raise ExecutorFailed(
                f"The contract allows {limits.memory_bytes} bytes of memory, and the image is for {note.memory_bytes}."
            )
        if self._runs is None:
            self._runs = Path(tempfile.mkdtemp(prefix="paddock-scone-"))
        folder = run_folder(self._runs, launch)
        clear = partial(shutil.rmtree, folder, ignore_errors=True)
        try:
            session = self._create_session(folder, note, launch)
        except BaseException:
            clear()
            raise
        variables = {
            **environment(None),
            **_size_variables(note.memory_bytes),
            "SCONE_CAS_ADDR": self._cas,
            "SCONE_LAS_ADDR": self._las,
            "SCONE_CONFIG_ID": session.configuration,
        }
        return Command((note.program,), variables, self._attester, clear)

    def _create_session(self, folder: Path, note: _Note, launch: Launch) -> SconeSession:
        scratch = folder / "scratch"
        scratch.mkdir(mode=0o700)
        # Another attempt of the run is another session: its volume begins empty, under another key.
        name = f"paddock-{launch.run}-{secrets.token_hex(8)}"
        session = SconeSession(name, note.mrenclave, PurePosixPath(note.program), ARGUMENTS, PurePosixPath(scratch))
        file = folder / SESSION
        file.write_text(session.text(), encoding="ascii")
        run_tool(
            [self._scone(), "session", "create", str(file)],
            folder=folder,
            seconds=ASK_SECONDS,
            variables={"SCONE_CAS_ADDR": self._cas, "SCONE_CLI_CONFIG": str(self._state)},
        )
        return session

    def _scone(self) -> str:
        return find_tool(self._tool, "scone", "SCONE (docs/executors/scone.md)")

    def _note(self) -> _Note:
        value = read_object(self._image / NOTE)
        program, found, memory = value.get("program"), value.get("mrenclave"), value.get("memory_bytes")
        if not (isinstance(program, str) and isinstance(found, str) and isinstance(memory, int)):
            raise ExecutorFailed(f"{NOTE} is damaged.")
        try:
            return _Note(plain_path("program", program), found, memory)
        except ExecutorOptionInvalid as error:
            raise ExecutorFailed(f"{NOTE} is damaged.") from error


class _Note:
    """What was built: the interpreter, its MRENCLAVE, and for how much memory."""

    def __init__(self, program: str, mrenclave: str, memory_bytes: int) -> None:
        if not _MRENCLAVE.fullmatch(mrenclave) or memory_bytes < 1:
            raise ExecutorFailed(f"{NOTE} is damaged.")
        self.program = program
        self.mrenclave = mrenclave
        self.memory_bytes = memory_bytes


_DEFAULT_MEMORY = f"{DEFAULT_MEMORY_BYTES >> 30}GiB"


def ask_mrenclave(program: str, memory_bytes: int, folder: Path) -> str:
    """The MRENCLAVE that a sconified program says it has at this size.

    Raises:
        ExecutorFailed: it says none.
    """
    variables = {**_size_variables(memory_bytes), "SCONE_HASH": "1"}
    text = run_tool([program], folder=folder, seconds=ASK_SECONDS, variables=variables).strip()
    if not _MRENCLAVE.fullmatch(text):
        raise ExecutorFailed(f"'{program}' told no MRENCLAVE: is it sconified?")
    return text


def _size_variables(memory_bytes: int) -> dict[str, str]:
    """What the enclave's size depends on, and so its MRENCLAVE."""
    return {
        "SCONE_MODE": "hw",
        "SCONE_HEAP": f"{-(-(memory_bytes + RUNTIME_BYTES) // _MIB)}M",
        "SCONE_STACK": "8M",
        "SCONE_ALLOW_DLOPEN": "1",  # libraries that were authenticated; 2 would take any
        "SCONE_FORK": "0",
    }


def _template(program: str, found: str) -> str:
    scratch = PurePosixPath("/var/lib/paddock/runs/RUN/scratch")
    return SconeSession("paddock-run", found, PurePosixPath(program), ARGUMENTS, scratch).text()
