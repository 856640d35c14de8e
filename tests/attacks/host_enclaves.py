"""The host starts what was measured, with something of its own: a program, options, variables, another signer's enclave.

What is measured is an image. Which of its programs is started, with which arguments, and what is laid beside it, is the
host's to say wherever the image's description leaves it open. Occlum is a stand-in that takes and refuses what Occlum does.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from paddock.contract.levels import Level
from paddock.errors import EvidenceNotTrusted, ExecutorFailed
from paddock.evidence import verify_evidence
from paddock.evidence.providers.sgx import SgxProvider
from paddock.executors import occlum_files
from paddock.executors.image.listing import INTERPRETER
from paddock.executors.occlum_files import OcclumImage
from paddock.executors.tools import run_tool
from paddock.testing.executor_suite import launch
from tests.attacks.catalogue import NOTHING, Actor, Outcome, absent, at_levels, attack
from tests.attacks.ground import Ground
from tests.attacks.switches import instead, without
from tests.fixtures.cast import NOW
from tests.fixtures.libos import Occlum
from tests.fixtures.vendors.intel import MRENCLAVE, IntelMaker

_NO_ENCLAVE = absent("there is no enclave below L5")
_ENCLAVES: dict[str, Any] = {
    "threats": (46,),
    "claims": at_levels((Level.L5,), L1=_NO_ENCLAVE, L2=_NO_ENCLAVE, L3=_NO_ENCLAVE, L4=_NO_ENCLAVE),
    "alike": True,
}
_SAID = "a program of the host's own"


def _started(folder: Path, program: PurePosixPath, *arguments: str, **variables: str) -> str:
    """What comes out of an image that is built there and started by its host like this."""
    machine = Occlum(folder)
    image = machine.build()
    # Of the interpreter in the image: it says what the host had it run, and which variable reached it.
    machine.become(
        [sys.executable, "-I", "-c", "import os, sys; print(*sys.argv[1:], os.environ.get('PYTHONSTARTUP'))"]
    )
    command = machine.executor(image).command(launch())
    return run_tool(
        [command.arguments[0], "run", str(program), *arguments],
        folder=command.folder,
        seconds=60,
        variables=variables,
    )


@attack(
    "host-program-of-its-own",
    Actor.HOST,
    "the measured interpreter with a program of the host's",
    what="The host starts the interpreter of Occlum's measured image with `-c` and a program that asks for the data keys.",
    stops="The image's one entry is a script that takes no argument; nothing else in it can be started.",
    enforced=("executors.occlum_files",),
    codes=(ExecutorFailed,),
    off=lambda: instead(occlum_files, "ENTRY", occlum_files.RUNTIME.parent),
    **_ENCLAVES,
)
def program_of_its_own(ground: Ground) -> str | Outcome:
    said = _started(ground.folder, occlum_files.RUNTIME / INTERPRETER, "-c", _SAID)
    return f"{_SAID}, measured as the enclave" if _SAID in said else Outcome.refused(NOTHING, said)


_CONFIGURATION = OcclumImage.configuration


def _letting_in(image: OcclumImage) -> str:
    value = json.loads(_CONFIGURATION(image))
    value["env"]["untrusted"] = ["PYTHONSTARTUP"]
    return json.dumps(value)


@attack(
    "host-variable-of-its-own",
    Actor.HOST,
    "a variable that has the interpreter run a file",
    what="The host starts the right entry with a variable of its own, by which an interpreter finds code of the host's.",
    stops="No variable of the host is let in: the measured configuration names none.",
    enforced=("executors.occlum_files",),
    codes=(NOTHING,),
    off=lambda: instead(OcclumImage, "configuration", _letting_in),
    **_ENCLAVES,
)
def variable_of_its_own(ground: Ground) -> str | Outcome:
    said = _started(ground.folder, occlum_files.PROGRAM, PYTHONSTARTUP="/host/code.py")
    return "a variable inside" if "/host/code.py" in said else Outcome.refused(NOTHING, "the image's variables alone")


@attack(
    "host-enclave-of-another-signer",
    Actor.HOST,
    "the measured enclave, signed by the host",
    what="The host signs the measured enclave with a key of its own, under which it can lay a first program of its own beside it.",
    stops="A keeper's policy names who may have signed; an enclave that somebody else signed is not believed.",
    enforced=("evidence.providers.sgx",),
    rules=("A-11",),
    codes=(EvidenceNotTrusted,),
    off=lambda: without(SgxProvider.verify, "if trust.signers and"),
    residual="Without `signers` in its policy a keeper believes whoever signed what the contract names: right for Gramine, not for Occlum.",
    **_ENCLAVES,
)
def enclave_of_another_signer(ground: Ground) -> str:
    maker = _maker()
    policy = maker.policy(signers=[hashlib.sha256(b"the parties' build service").hexdigest()])
    evidence = maker.evidence(bytes(64), mrenclave=MRENCLAVE, mrsigner=hashlib.sha256(b"the host").digest())
    claims = verify_evidence(evidence, policy=policy, collateral=maker.collateral(NOW), now=NOW + timedelta(minutes=1))
    return f"evidence that is believed, of a measurement that contracts name: {claims.measurement[:20]}"


@functools.cache
def _maker() -> IntelMaker:
    return IntelMaker("sgx")
