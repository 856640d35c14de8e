"""SCONE's session: what its configuration and attestation service (CAS) gives to an enclave once it has attested it.

The session pins the enclave, its command and its whole environment, and holds no secret: the key of the volume for scratch
files is made by the CAS and never leaves it but into the attested enclave. What SCONE leaves open by default is closed:

- An enclave is let in once, and fresh (`singleton_enclaves`). Otherwise one that was started with somebody's own Python could
  pretend to be new and ask for the session, as its measurement is that of its start.
- Nobody changes the session (`update: NONE`), not even who made it, and none is made below it.
- The platform is attested by its hardware and tolerated as nothing but up to date, unless whoever builds says what else;
  debug mode cannot be said.

Source: SCONE session language 0.3 (sconedocs.github.io/CAS_session_lang_0_3), CAS command line (CAS_cli), environment
variables (SCONE_ENV), scontain/volume-demo; F. Gregor et al., SinClave: Hardware-assisted Singletons for TEEs (2023).
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

VERSION, SERVICE = "0.3.10", "enclave"
LOADS_AUTHENTICATED = "1"
"""Of SCONE_ALLOW_DLOPEN: libraries that were authenticated may be loaded; 2 would take any."""
TOLERABLE = (
    "aepic-leak",
    "hyperthreading",
    "insecure-configuration",
    "insecure-igpu",
    "outdated-tcb",
    "software-hardening-needed",
)
"""The language's words for states of a platform; `debug-mode` is not among them, for it shows everything to the host."""
_NAME = re.compile(r"[a-z][a-z0-9-]{0,99}")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_ADVISORY = re.compile(r"INTEL-SA-[0-9]{5}")


@dataclass(frozen=True)
class Tolerance:
    """What of a platform's state a session accepts; nothing, as it stands.

    Args:
        states: of `TOLERABLE`.
        advisories: ids of Intel's advisories that may apply; SCONE wants their kind among the states, too.
    """

    states: tuple[str, ...] = ()
    advisories: tuple[str, ...] = ()

    def check(self) -> None:
        """Return if all of it is known and can be tolerated.

        Raises:
            ExecutorOptionInvalid: it is not.
        """
        for state in self.states:
            if state not in TOLERABLE:
                raise ExecutorOptionInvalid(f"tolerate: {state[:100]!a} is not among: {', '.join(TOLERABLE)}.")
        for advisory in self.advisories:
            if not _ADVISORY.fullmatch(advisory):
                raise ExecutorOptionInvalid(f"advisories: {advisory[:100]!a} is not written like INTEL-SA-00615.")

    def to_yaml(self) -> dict[str, Any]:
        """As members of a session's `attestation`; checked before."""
        self.check()
        ignored = {"ignore_advisories": list(self.advisories)} if self.advisories else {}
        return {"tolerate": list(self.states), **ignored}


@dataclass(frozen=True)
class SconeSession:
    """One session, for one attempt of a run.

    Args:
        name: unique in the CAS.
        mrenclave: the enclave that may have it, 64 hex digits.
        program: the sconified interpreter.
        arguments: of it.
        scratch: the folder whose files SCONE encrypts.
        tolerance: what of the platform's state is accepted.
    """

    name: str
    mrenclave: str
    program: PurePosixPath
    arguments: Sequence[str]
    scratch: PurePosixPath
    tolerance: Tolerance

    def text(self) -> str:
        """The session as YAML.

        Raises:
            ExecutorOptionInvalid: a text is not plain, or more is tolerated than can be.
        """
        if not _NAME.fullmatch(self.name):
            raise ExecutorOptionInvalid("A session's name is of lower-case letters, digits and -.")
        command = [plain_path("program", self.program), *(plain_word("argument", each) for each in self.arguments)]
        scratch = plain_path("runs", self.scratch)
        return _yaml(
            {
                "name": self.name,
                "version": VERSION,
                "access_policy": {"read": ["CREATOR"], "update": ["NONE"], "create_sessions": ["NONE"]},
                "security": {
                    "attestation": {"mode": "hardware", **self.tolerance.to_yaml()},
                    "singleton_enclaves": True,
                },
                "services": [
                    {
                        "name": SERVICE,
                        "image_name": "runtime",
                        "attestation": {"mrenclave": [mrenclave("MRENCLAVE", self.mrenclave)]},
                        "command": command,
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
            "SCONE_ALLOW_DLOPEN": LOADS_AUTHENTICATED,  # has no effect for an attested program unless it stands here
            "TMPDIR": scratch,
            "TZ": "UTC",
        }
    )


def _yaml(value: Any) -> str:
    """A mapping as block YAML: names plain, every text between quotes as in JSON, so that none is read as something else."""
    return "".join(f"{line}\n" for line in _lines(value))


def _lines(value: Any) -> list[str]:
    if isinstance(value, (str, bool)):
        return [json.dumps(value, ensure_ascii=True)]
    if isinstance(value, dict) and value:
        lines = []
        for name, each in value.items():
            if not _KEY.fullmatch(name):
                raise ValueError(f"not the name of a member: {name!r}")
            inner = _lines(each)
            if isinstance(each, (str, bool)) or not each:
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
