"""What an image of `scone` is: an interpreter and a library with all files that it can see, under one MRENCLAVE.

SCONE compiles a file system into a library (`scone binary-fs`). An enclave that is built with it sees no other file of the host
but those that were named then, and its MRENCLAVE tells every file. A protection file (FSPF), SCONE's other way, is named in the
session by an AES-GCM tag: it fixes nothing towards whoever made it and knows its key, here the host.

Source: SCONE documentation (sconedocs.github.io): binary file system, file types, environment variables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.executors.scone_session import LOADS_AUTHENTICATED, Tolerance
from paddock.executors.texts import mrenclave, plain_path
from paddock.executors.tools import ASK_SECONDS, run_tool

NOTE = "built.json"
RUNTIME_BYTES = 1 << 30
"""What interpreter and PaddlePaddle take of the heap beside the contract's memory."""
_MIB = 1 << 20
_MRENCLAVE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class SconeEnclave:
    """What is to be started.

    Args:
        program: the sconified interpreter.
        files: the library that holds all the files that it can see.
        memory_bytes: the most that a contract may allow.
        tolerance: what its sessions accept of a platform.
    """

    program: str
    files: str
    memory_bytes: int
    tolerance: Tolerance

    def variables(self) -> dict[str, str]:
        """What the enclave's MRENCLAVE depends on: its size and files, and what it may load."""
        return {
            "SCONE_MODE": "hw",
            "SCONE_HEAP": f"{-(-(self.memory_bytes + RUNTIME_BYTES) // _MIB)}M",
            "SCONE_STACK": "8M",
            "SCONE_EXTENSIONS_PATH": self.files,
            "SCONE_ALLOW_DLOPEN": LOADS_AUTHENTICATED,
            "SCONE_FORK": "0",  # an enclave that is let in but once cannot fork
        }


@dataclass(frozen=True)
class Note:
    """What was built, and the MRENCLAVE that it has."""

    enclave: SconeEnclave
    mrenclave: str

    def text(self) -> str:
        """As JSON."""
        enclave = self.enclave
        value = {
            "program": enclave.program,
            "files": enclave.files,
            "mrenclave": self.mrenclave,
            "memory_bytes": enclave.memory_bytes,
            "tolerate": enclave.tolerance.states,
            "advisories": enclave.tolerance.advisories,
        }
        return json.dumps(value, indent=2) + "\n"

    @classmethod
    def read(cls, value: Mapping[str, object]) -> Note:
        """Read it strictly, since what it says gets into sessions.

        Raises:
            ExecutorFailed: it is not what `text` wrote, or says more than a build can.
        """
        try:
            memory = value["memory_bytes"]
            if type(memory) is not int or memory < 1:
                raise ValueError
            tolerance = Tolerance(_texts(value["tolerate"]), _texts(value["advisories"]))
            tolerance.check()
            program, files = plain_path("program", _text(value["program"])), plain_path("files", _text(value["files"]))
            found = mrenclave("MRENCLAVE", _text(value["mrenclave"]))
        except (KeyError, TypeError, ValueError, ExecutorOptionInvalid) as error:
            raise ExecutorFailed(f"{NOTE} is damaged.") from error
        return cls(SconeEnclave(program, files, memory, tolerance), found)


def ask_mrenclave(enclave: SconeEnclave, folder: Path) -> str:
    """The MRENCLAVE that a sconified program says it has with these files and at this size.

    Raises:
        ExecutorFailed: it says none.
    """
    variables = {**enclave.variables(), "SCONE_HASH": "1"}
    text = run_tool([enclave.program], folder=folder, seconds=ASK_SECONDS, variables=variables).strip()
    if not _MRENCLAVE.fullmatch(text):
        raise ExecutorFailed(f"'{enclave.program}' told no MRENCLAVE: is it sconified?")
    return text


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_text(each) for each in value)
