"""The five security levels: one table that keepers, enclaves, commands and documents read.

Every member of a row that is no sentence is asked by a function below, and those by three who do not trust one another:
whoever reads terms, so that nobody signs what the level forbids; the keeper, before it releases a key; the enclave, before
the first step starts and as outputs leave.

Source: docs/spec/contract.md §6 (L-1 to L-10), docs/spec/gateway.md (L-11 to L-13).
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
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
    """What kind of environment evidence speaks of, whichever vendor's provider verified it.

    `sealed-vm` and `measured-host` are never evidence's own word: appraisal finds them (A-17, A-26).
    """

    NONE = "none"
    SOFTWARE = "software"
    TPM = "tpm"
    MEASURED_HOST = "measured-host"
    CONFIDENTIAL_VM = "confidential-vm"
    SEALED_VM = "sealed-vm"
    ENCLAVE = "enclave"


class Code(enum.StrEnum):
    """Whose code may run."""

    ANY = "any"
    PINNED = "pinned"
    BUILT_IN = "built-in"


class Network(enum.StrEnum):
    """What the job can reach, and so where it runs.

    At `open` a job runs as a process like any other; at `gateway` inside walls, with its gateway alone to speak to; at
    `none` no party's code runs, and built-in jobs in the enclave's own process.
    """

    OPEN = "open"
    GATEWAY = "gateway"
    NONE = "none"


@dataclass(frozen=True)
class Numbers:
    """How finely, and how many, numbers may leave a run in outputs of type `metrics` and `curve` and as live progress.

    Args:
        decimals: places behind the point.
        digits: of a number in all; what is longer is rounded to so many.
        most: of all outputs of the run together, and of its progress.
    """

    decimals: int
    digits: int
    most: int

    def rounded(self, value: float) -> float:
        """A number as it may leave (L-10); a whole one stays whole."""
        if isinstance(value, int):
            return value if abs(value) < 10**self.digits else int(float(f"{value:.{self.digits - 1}e}"))  # L-10
        return float(f"{round(value, self.decimals):.{self.digits}g}")  # L-10


@dataclass(frozen=True)
class LevelPolicy:
    """What one level demands and allows, and in plain words what it is worth.

    Args:
        level: which.
        title: in one or two words.
        evidence: kinds of environment, one of which must be proved (L-1).
        needs_measurement: whether a contract must list what may run (C-15, R-9).
        code: whose code may run (L-2).
        network: what a job can reach, and so where it runs.
        pads_inputs: whether only padded inputs are taken (L-7).
        pads_outputs: whether sizes of outputs are padded (L-4).
        free_outputs: whether outputs may carry free text or any files (L-8).
        numbers: bounds on numbers that leave; None: they are bounded by the outputs' sizes alone (L-10).
        most_runs: how many runs a contract may allow (L-9).
        host_sees_logs: whether a job's own words reach whoever runs it (L-5).
        executors: names of the executors that can give it.
        demands: in plain words; as the three that follow.
        allows: what may run, and what may come out.
        protects_from: from whom or what.
        does_not_protect_from: and from what not.
    """

    level: Level
    title: str
    evidence: frozenset[Tee]
    needs_measurement: bool
    code: Code
    network: Network
    pads_inputs: bool
    pads_outputs: bool
    free_outputs: bool
    numbers: Numbers | None
    most_runs: int
    host_sees_logs: bool
    executors: tuple[str, ...]
    demands: str
    allows: str
    protects_from: str
    does_not_protect_from: str


MOST_RUNS = 1_000_000
"""Of any contract."""
_BUILT_IN_JOBS = frozenset({"train", "evaluate", "predict"})
_SCRIPT_JOBS = frozenset({"script"})

LEVELS: Mapping[Level, LevelPolicy] = MappingProxyType(
    {
        Level.L1: LevelPolicy(
            level=Level.L1,
            title="unprotected",
            evidence=frozenset(Tee),
            needs_measurement=False,
            code=Code.ANY,
            network=Network.OPEN,
            pads_inputs=False,
            pads_outputs=False,
            free_outputs=True,
            numbers=None,
            most_runs=MOST_RUNS,
            host_sees_logs=True,
            executors=("process",),
            demands="No evidence; every keeper logs the run key.",
            allows="Built-in jobs and any Python script, an open network, outputs of any type.",
            protects_from="Whoever reads the store or the wire: data are encrypted at rest and in transit.",
            does_not_protect_from="The machine's operator and the job's code: both can read everything.",
        ),
        Level.L2: LevelPolicy(
            level=Level.L2,
            title="sandboxed",
            evidence=frozenset({Tee.SOFTWARE, Tee.MEASURED_HOST, Tee.CONFIDENTIAL_VM, Tee.SEALED_VM, Tee.ENCLAVE}),
            needs_measurement=True,
            code=Code.PINNED,
            network=Network.GATEWAY,
            pads_inputs=False,
            pads_outputs=False,
            free_outputs=True,
            numbers=None,
            most_runs=MOST_RUNS,
            host_sees_logs=False,
            executors=("sandbox",),
            demands=(
                "A statement of what runtime is installed and which walls there are, signed by the host's key that each "
                "party's keeper names."
            ),
            allows=(
                "Built-in jobs, and scripts that the contract pins by digest, inside walls: no network, no files of the "
                "host, no way out but the gateway. Outputs as listed, of the types and sizes that were signed."
            ),
            protects_from="A malicious job: it is confined to its inputs and declared outputs. Its words go to parties alone.",
            does_not_protect_from=(
                "A malicious host: it can read memory and lie about its measurement. Whoever receives a script's outputs "
                "receives whatever the script puts there."
            ),
        ),
        Level.L3: LevelPolicy(
            level=Level.L3,
            title="measured host",
            evidence=frozenset({Tee.MEASURED_HOST, Tee.SEALED_VM}),
            needs_measurement=True,
            code=Code.PINNED,
            network=Network.GATEWAY,
            pads_inputs=False,
            pads_outputs=False,
            free_outputs=True,
            numbers=None,
            most_runs=MOST_RUNS,
            host_sees_logs=False,
            executors=("sandbox", "confidential-vm"),
            demands=(
                "What L2 demands, and a TPM 2.0 quote over boot and runtime: one register of the quote holds the runtime's "
                "measurement and the host's key. A quote alone says nothing of the runtime and is not enough. Or a "
                "confidential machine whose whole image is measured and sealed."
            ),
            allows="What L2 allows.",
            protects_from="What L2 protects from, and a host whose boot chain or runtime was changed: it is noticed.",
            does_not_protect_from="Whoever holds the running machine: memory is not encrypted, and a TPM can be listened to.",
        ),
        Level.L4: LevelPolicy(
            level=Level.L4,
            title="encrypted memory",
            evidence=frozenset({Tee.CONFIDENTIAL_VM, Tee.SEALED_VM}),
            needs_measurement=True,
            code=Code.PINNED,
            network=Network.GATEWAY,
            pads_inputs=False,
            pads_outputs=False,
            free_outputs=True,
            numbers=None,
            most_runs=MOST_RUNS,
            host_sees_logs=False,
            executors=("confidential-vm", "nitro"),
            demands=(
                "Evidence of AMD SEV-SNP, Intel TDX, AWS Nitro or Arm CCA, not in debug mode; where a keeper's policy asks "
                "for it, that of the GPU too."
            ),
            allows="What L2 allows.",
            protects_from="What L2 protects from, and host and hypervisor: they are out of the trusted base.",
            does_not_protect_from="Faults in the guest's own kernel and services; sizes and times of what it sends.",
        ),
        Level.L5: LevelPolicy(
            level=Level.L5,
            title="enclave",
            evidence=frozenset({Tee.ENCLAVE, Tee.SEALED_VM}),
            needs_measurement=True,
            code=Code.BUILT_IN,
            network=Network.NONE,
            pads_inputs=True,
            pads_outputs=True,
            free_outputs=False,
            numbers=Numbers(decimals=4, digits=10, most=10_000),
            most_runs=10_000,
            host_sees_logs=False,
            executors=("gramine", "occlum", "confidential-vm", "nitro"),
            demands=(
                "Evidence of an Intel SGX enclave, not in debug mode, or of a level-4 machine whose whole image is "
                "measured and sealed."
            ),
            allows=(
                "No party's code: built-in jobs over sealed programs. Inputs and outputs padded; outputs only as listed, "
                "none of free text; numbers of at most 4 decimals, at most 10,000 of them in a run."
            ),
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
    if kind in _BUILT_IN_JOBS:  # L-2
        return
    if kind not in _SCRIPT_JOBS:
        raise LevelRefused(f"A job of kind '{kind}' may not run at {level}: no level knows it.")
    if LEVELS[level].code is Code.BUILT_IN:
        raise LevelRefused(f"A job of kind '{kind}' may not run at {level}: it is a party's code.")


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


def check_number_of_runs(level: Level, runs: int) -> None:
    """Return if a contract at this level may allow so many runs.

    Raises:
        LevelRefused: it may not: each run tells its recipients a little more (L-9).
    """
    most = LEVELS[level].most_runs
    if runs > most:  # L-9
        raise LevelRefused(f"A contract at {level} allows at most {most} runs, not {runs}.")


def check_measurements(level: Level, measurements: Collection[str]) -> None:
    """Return if a contract at this level may list these measurements.

    Raises:
        LevelRefused: it lists none, and the level needs one (C-15).
    """
    if LEVELS[level].needs_measurement and not measurements:  # C-15
        raise LevelRefused(f"{level} needs at least one accepted measurement.")


def check_evidence_allowed(level: Level, tee: str) -> None:
    """Return if evidence of this kind of environment is enough for this level.

    Args:
        level: of the contract.
        tee: a `Tee`, or the word that a provider said.

    Raises:
        LevelRefused: it is not, or no level knows such a kind (L-1).
    """
    try:
        known = Tee(tee)
    except ValueError:
        raise LevelRefused("The evidence is of a kind of environment that no level knows.") from None  # L-1
    if known not in LEVELS[level].evidence:  # L-1
        raise LevelRefused(f"Evidence of kind '{known}' is not enough for {level}.{_ADVICE.get((level, known), '')}")


_ADVICE: Mapping[tuple[Level, Tee], str] = MappingProxyType(
    {
        (Level.L2, Tee.TPM): " A TPM's quote alone says nothing of the runtime: it stands beside a host's statement.",
        (
            Level.L3,
            Tee.TPM,
        ): " A TPM's quote alone says nothing of the runtime: it stands beside a host's statement, or is of an image that the policy lists as sealed.",
        (Level.L3, Tee.SOFTWARE): " The host's statement needs a TPM's quote beside it.",
        (Level.L5, Tee.CONFIDENTIAL_VM): " The keeper's trust policy does not list its image as sealed.",
    }
)


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
