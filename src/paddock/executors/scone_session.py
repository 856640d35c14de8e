"""SCONE's session: what its configuration and attestation service (CAS) gives to an enclave once it has attested it.

The session pins the enclave (`mrenclaves`), its command and its whole environment, tolerates nothing of the platform's
state, and holds no secret: the key of the volume for scratch files is made by the CAS and never leaves it but into the
attested enclave.

Source: SCONE session language 0.3 (sconedocs.github.io/CAS_session_lang_0_3), CAS command line (CAS_cli), scontain/volume-demo.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from paddock.errors import ExecutorOptionInvalid
from paddock.executors.texts import mrenclave, plain_environment, plain_path, plain_word

VERSION, SERVICE = "0.3", "enclave"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,99}")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True)
class SconeSession:
    """One session, for one run.

    Args:
        name: unique in the CAS.
        mrenclave: the enclave that may have it, 64 hex digits.
        program: the sconified interpreter.
        arguments: of it.
        scratch: the folder whose files SCONE encrypts.
    """

    name: str
    mrenclave: str
    program: PurePosixPath
    arguments: Sequence[str]
    scratch: PurePosixPath

    def text(self) -> str:
        """The session as YAML.

        Raises:
            ExecutorOptionInvalid: a text is not plain.
        """
        if not _NAME.fullmatch(self.name):
            raise ExecutorOptionInvalid("A session's name is of lower-case letters, digits and -.")
        command = [plain_path("program", self.program), *(plain_word("argument", each) for each in self.arguments)]
        scratch = plain_path("runs", self.scratch)
        return _yaml(
            {
                "name": self.name,
                "version": VERSION,
                "access_policy": {"read": ["CREATOR"], "update": ["CREATOR"]},
                "security": {"attestation": {"tolerate": []}},
                "services": [
                    {
                        "name": SERVICE,
                        "image_name": "runtime",
                        "mrenclaves": [mrenclave("MRENCLAVE", self.mrenclave)],
                        "command": " ".join(command),  # no part holds a space
                        "pwd": "/",
                        "environment": dict(variables(scratch)),
                    }
                ],
                "images": [{"name": "runtime", "volumes": [{"name": "scratch", "path": scratch}]}],
                "volumes": [{"name": "scratch"}],
            }
        )

    @property
    def configuration(self) -> str:
        """What the enclave asks the CAS for: `SCONE_CONFIG_ID`."""
        return f"{self.name}/{SERVICE}"


def variables(scratch: str) -> Mapping[str, str]:
    """All of the environment inside."""
    return plain_environment(
        {
            "HOME": "/nonexistent",
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SCONE_MODE": "hw",
            "TMPDIR": scratch,
            "TZ": "UTC",
        }
    )


def _yaml(value: Any) -> str:
    """A mapping as block YAML: names plain, every text between quotes as in JSON, so that none is read as something else."""
    return "".join(f"{line}\n" for line in _lines(value))


def _lines(value: Any) -> list[str]:
    if isinstance(value, str):
        return [json.dumps(value, ensure_ascii=True)]
    if isinstance(value, dict) and value:
        lines = []
        for name, each in value.items():
            if not _KEY.fullmatch(name):
                raise ValueError(f"not the name of a member: {name!r}")
            inner = _lines(each)
            if isinstance(each, str) or not each:
                lines.append(f"{name}: {inner[0]}")
            else:
                lines += [f"{name}:", *(f"  {line}" for line in inner)]
        return lines
    if isinstance(value, list) and value:
        lines = []
        for each in value:
            first, *rest = _lines(each)
            lines += [f"- {first}", *(f"  {line}" for line in rest)]
        return lines
    return ["[]"]
