"""Running a contract's steps: inputs and what earlier steps made go in, files come out, nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from paddock.contract.levels import is_built_in
from paddock.contract.terms import StepTerms, Terms, check_level
from paddock.enclave.checkpoints import Resumed, RunCheckpoints, StepCheckpoints
from paddock.enclave.files import MadeFiles, staged
from paddock.enclave.workers import Workers, in_process
from paddock.errors import InternalFault
from paddock.gateway.receiving import Budget
from paddock.gateway.supervisor import Volume, Work
from paddock.jobs.api import Checkpoints, Files, JobContext, NoCheckpoints, Progress
from paddock.jobs.registry import job_kind
from paddock.walls import Binding

INPUTS = PurePosixPath("/inputs")
Made = dict[str, dict[str, bytes]]


@dataclass(frozen=True)
class Surroundings:
    """What a run's steps have in common.

    Args:
        memory_limit_bytes: what data and tensors of a step may take together.
        check: raises when the run must end.
        progress: takes a step's name and its progress.
        entered: called as a step begins.
        words: takes the name of a step that failed, and the log that it left.
        checkpoints: where it is kept how far they are.
        workers: the processes that jobs run in.
    """

    memory_limit_bytes: int
    check: Callable[[], None]
    progress: Callable[[str, Progress], None]
    entered: Callable[[StepTerms], None]
    words: Callable[[str, Mapping[str, bytes]], None]
    checkpoints: RunCheckpoints
    workers: Workers


def check_steps(terms: Terms) -> None:
    """Return if every step and output may be at this level, asked here again after the keepers did.

    Raises:
        LevelRefused: something that the level does not allow (L-2, L-8, L-9).
        ParametersRefused: parameters that no job of that kind has.
    """
    check_level(terms)  # L-2, L-8, L-9
    for step in terms.steps:
        job_kind(step.kind).check_parameters(step.parameters)


def run_steps(terms: Terms, inputs: Mapping[str, Files], around: Surroundings, resumed: Resumed | None) -> Made:
    """Run every step in the signed order.

    Args:
        terms: the signed terms.
        inputs: each input's opened volume.
        around: see `Surroundings`.
        resumed: the checkpoint to go on from; None: begin at the beginning.

    Returns:
        `step.output` to files, of those that the contract lists or a later step uses.

    Raises:
        JobRefused, ProgramRefused: a step cannot work on what it was given, or did what none may do.
        LevelRefused: see `check_steps`.
    """
    check_steps(terms)
    made: Made = {}
    budgets = _Budgets(terms, around)
    if resumed is not None:
        made = {reference: dict(files) for reference, files in resumed.made.items()}
        budgets.take(made)
    # K-6: finished steps are not done again.
    names = [step.name for step in terms.steps]
    first = 0 if resumed is None else names.index(resumed.step)
    for number, step in enumerate(terms.steps[first:], first):
        around.check()
        if number > first and around.checkpoints.due():
            around.checkpoints.save(step.name, made, None)
        around.entered(step)
        state = resumed.state if resumed is not None and number == first else None
        kept: Checkpoints = NoCheckpoints()
        if around.checkpoints.kept:
            kept = StepCheckpoints(around.checkpoints, step.name, dict(made), state)
        opened = {
            reference: MadeFiles(made[reference]) if "." in reference else inputs[reference]
            for references in step.inputs.values()
            for reference in references
        }
        for output, files in _Step(terms, step, opened, kept, around, budgets).run().items():
            made[f"{step.name}.{output}"] = files
    return made


class _Budgets:
    """What the outputs of all steps of a run may have together: what leaves as all signed, the rest as memory allows.

    What a job makes in this process is in its memory before it could be counted, and no party's code makes it.
    """

    def __init__(self, terms: Terms, around: Surroundings) -> None:
        self._listed = {each.source for each in terms.outputs.values()}
        self._leaving = Budget(terms.limits.output_bytes)
        self._staying = Budget(around.memory_limit_bytes)

    def of(self, reference: str) -> Budget:
        """The budget of an output."""
        return self._leaving if reference in self._listed else self._staying

    def take(self, made: Mapping[str, Mapping[str, bytes]]) -> None:
        """Count what an earlier attempt made. Raises OutputTooLarge."""
        for reference, files in made.items():
            self.of(reference).take(sum(map(len, files.values())))


@dataclass(frozen=True)
class _Step:
    terms: Terms
    step: StepTerms
    opened: Mapping[str, Files]
    checkpoints: Checkpoints
    around: Surroundings
    budgets: _Budgets

    def run(self) -> Made:
        built_in = is_built_in(self.step.kind)
        if in_process(self.terms.level, built_in=built_in):
            return job_kind(self.step.kind).run(self._context())
        with ExitStack() as stack:
            bindings = [] if built_in else self._bindings(stack)
            wanted = self._wanted()
            work = Work(
                kind=self.step.kind,
                parameters=self.step.parameters,
                inputs={
                    role: [self._volume(each, by_path=not built_in) for each in references]
                    for role, references in self.step.inputs.items()
                },
                outputs=wanted,
                budgets={name: self.budgets.of(f"{self.step.name}.{name}") for name in wanted},
                memory_bytes=self.around.memory_limit_bytes,
                checkpoints=self.checkpoints,
                progress=lambda news: self.around.progress(self.step.name, news),
            )
            return self.around.workers.run(
                work,
                bindings,
                built_in=built_in,
                check=self.around.check,
                words=lambda files: self.around.words(self.step.name, files),
            )

    def _context(self) -> JobContext:
        return JobContext(
            parameters=self.step.parameters,
            inputs={role: [self.opened[each] for each in references] for role, references in self.step.inputs.items()},
            progress=lambda news: self.around.progress(self.step.name, news),
            check=self.around.check,
            memory_limit_bytes=self.around.memory_limit_bytes,
            checkpoints=self.checkpoints,
            outputs=self._wanted(),
        )

    def _wanted(self) -> dict[str, int]:
        """The outputs that the contract lists, or a later step uses, each with the bytes that it may have."""
        wanted: dict[str, int] = {}
        later = {reference for step in self.terms.steps for refs in step.inputs.values() for reference in refs}
        for name in job_kind(self.step.kind).outputs_of(self.step.parameters):
            reference = f"{self.step.name}.{name}"
            sizes = [each.max_bytes for each in self.terms.outputs.values() if each.source == reference]
            if sizes:
                wanted[name] = min(sizes)
            elif reference in later:  # it stays in memory, and goes to nobody
                wanted[name] = self.around.memory_limit_bytes
        return wanted

    def _volume(self, reference: str, *, by_path: bool) -> Volume:
        return Volume(self.opened[reference], INPUTS / reference if by_path else None)

    def _bindings(self, stack: ExitStack) -> Sequence[Binding]:
        return [Binding(_folder(files, stack), INPUTS / reference) for reference, files in sorted(self.opened.items())]


def _folder(files: Files, stack: ExitStack) -> Path:
    """Where files stand as files: the view's own folder, or one in memory for what a step before made."""
    if isinstance(files, MadeFiles):
        return stack.enter_context(staged(files))
    folder = getattr(files, "folder", None)
    if not isinstance(folder, Path):
        raise InternalFault("An input of a script was not opened as files.")
    return folder
