"""The five security levels: one table that keeper, enclave, commands and documents read.

Source: docs/spec/contract.md §6 (L-1 to L-8).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from paddock.contract.output_types import OutputType
from paddock.errors import LevelRefused


class Level(enum.StrEnum):
    """A security level; L5 is the strictest and the default of every draft."""

    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"
    L5 = "L5"


class Tee(enum.StrEnum):
    """What kind of environment evidence speaks of, whichever vendor's provider verified it."""

    NONE = "none"
    SOFTWARE = "software"
    TPM = "tpm"
    CONFIDENTIAL_VM = "confidential-vm"
    SEALED_VM = "sealed-vm"
    ENCLAVE = "enclave"


class Code(enum.StrEnum):
    """Whose code may run."""

    ANY = "any"
    PINNED = "pinned"
    BUILT_IN = "built-in"


class Network(enum.StrEnum):
    """What the job can reach."""

    OPEN = "open"
    GATEWAY = "gateway"
    NONE = "none"


@dataclass(frozen=True)
class LevelPolicy:
    """What one level demands and allows, and in plain words what it is worth."""

    level: Level
    title: str
    evidence: frozenset[Tee]
    code: Code
    network: Network
    pads_outputs: bool
    pads_inputs: bool
    free_outputs: bool
    host_sees_logs: bool
    needs_measurement: bool
    demands: str
    allows: str
    protects_from: str
    does_not_protect_from: str


_BUILT_IN_JOBS = frozenset({"train", "evaluate", "predict"})
_SCRIPT_JOBS = frozenset({"script"})

LEVELS: Mapping[Level, LevelPolicy] = MappingProxyType(
    {
        Level.L1: LevelPolicy(
            level=Level.L1,
            title="unprotected",
            evidence=frozenset(Tee),
            code=Code.ANY,
            network=Network.OPEN,
            pads_outputs=False,
            pads_inputs=False,
            free_outputs=True,
            host_sees_logs=True,
            needs_measurement=False,
            demands="No evidence; the run key is logged by every keeper.",
            allows="Any Python, any package, an open network.",
            protects_from="Whoever reads the store or the wire: data are encrypted at rest and in transit.",
            does_not_protect_from="The machine's operator and the job's code: both can read everything.",
        ),
        Level.L2: LevelPolicy(
            level=Level.L2,
            title="sandboxed",
            evidence=frozenset({Tee.SOFTWARE, Tee.TPM, Tee.CONFIDENTIAL_VM, Tee.SEALED_VM, Tee.ENCLAVE}),
            code=Code.PINNED,
            network=Network.GATEWAY,
            pads_outputs=False,
            pads_inputs=False,
            free_outputs=True,
            host_sees_logs=True,
            needs_measurement=True,
            demands="A software measurement, signed by the host's key.",
            allows="Python that the contract pins by digest; no network but the gateway.",
            protects_from="A malicious job: it is confined to its inputs and declared outputs.",
            does_not_protect_from="A malicious host: it can read memory and lie about its measurement.",
        ),
        Level.L3: LevelPolicy(
            level=Level.L3,
            title="measured host",
            evidence=frozenset({Tee.TPM, Tee.SEALED_VM}),
            code=Code.PINNED,
            network=Network.GATEWAY,
            pads_outputs=False,
            pads_inputs=False,
            free_outputs=True,
            host_sees_logs=True,
            needs_measurement=True,
            demands="What L2 demands and a TPM 2.0 quote over boot and runtime.",
            allows="What L2 allows.",
            protects_from="What L2 protects from, and a host whose boot chain or runtime was changed.",
            does_not_protect_from="Whoever holds the running machine: memory is not encrypted.",
        ),
        Level.L4: LevelPolicy(
            level=Level.L4,
            title="encrypted memory",
            evidence=frozenset({Tee.CONFIDENTIAL_VM, Tee.SEALED_VM}),
            code=Code.PINNED,
            network=Network.GATEWAY,
            pads_outputs=False,
            pads_inputs=False,
            free_outputs=True,
            host_sees_logs=False,
            needs_measurement=True,
            demands="Evidence of AMD SEV-SNP, Intel TDX, AWS Nitro or Arm CCA; with a GPU, its evidence too.",
            allows="What L2 allows.",
            protects_from="Host and hypervisor: they are out of the trusted base.",
            does_not_protect_from="Faults in the guest's own kernel and services; sizes and times of what it sends.",
        ),
        Level.L5: LevelPolicy(
            level=Level.L5,
            title="enclave",
            evidence=frozenset({Tee.ENCLAVE, Tee.SEALED_VM}),
            code=Code.BUILT_IN,
            network=Network.NONE,
            pads_outputs=True,
            pads_inputs=True,
            free_outputs=False,
            host_sees_logs=False,
            needs_measurement=True,
            demands="Evidence of an Intel SGX enclave, or of a level-4 machine whose whole image is measured and sealed.",
            allows="No party's code: built-in jobs over sealed programs; inputs and outputs padded, outputs only as listed.",
            protects_from="Operator, host, hypervisor, store, hub, network, and every other party's code.",
            does_not_protect_from=(
                "What the results themselves reveal to those whom the contract gives them, "
                "side channels of the processor, and refusal to run at all."
            ),
        ),
    }
)


def check_job_allowed(level: Level, kind: str) -> None:
    """Return if a job of this kind may run at this level.

    Raises:
        LevelRefused: at a level whose code is built in, a kind that is not (L-2); a kind nobody knows at any level.
    """
    allowed = _BUILT_IN_JOBS if LEVELS[level].code is Code.BUILT_IN else _BUILT_IN_JOBS | _SCRIPT_JOBS
    if kind not in allowed:  # L-2
        raise LevelRefused(f"A job of kind '{kind}' may not run at {level}.")


def is_built_in(kind: str) -> bool:
    """Whether a kind of job is part of the measured runtime, and no party's code."""
    return kind in _BUILT_IN_JOBS


def check_output_type(level: Level, name: str, kind: OutputType) -> None:
    """Return if an output of this type may leave at this level.

    Raises:
        LevelRefused: it can carry free text, and the level takes none (L-8).
    """
    if kind.is_free and not LEVELS[level].free_outputs:  # L-8
        typed = ", ".join(each for each in OutputType if not each.is_free)
        raise LevelRefused(f"Output '{name}' is of type '{kind}', which can carry free text: at {level} use {typed}.")


def check_evidence_allowed(level: Level, tee: Tee) -> None:
    """Return if evidence of this kind of environment is enough for this level.

    Raises:
        LevelRefused: it is not (L-1).
    """
    if tee not in LEVELS[level].evidence:  # L-1
        raise LevelRefused(f"Evidence of kind '{tee}' is not enough for {level}.")


def check_padding(level: Level, name: str, *, padded: bool) -> None:
    """Return if an input may be used at a level.

    Args:
        level: of the contract.
        name: of the input.
        padded: whether its volume is padded.

    Raises:
        LevelRefused: the level takes padded inputs only (L-7).
    """
    if LEVELS[level].pads_inputs and not padded:  # L-7
        raise LevelRefused(f"Input '{name}' was sealed without padding: paddock seal … --padding padme.")
