"""Running a contract's steps: inputs and what earlier steps made go in, files come out, nothing else does."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from paddock.contract.terms import StepTerms, Terms, check_level
from paddock.enclave.checkpoints import Resumed, RunCheckpoints, StepCheckpoints
from paddock.enclave.files import MadeFiles
from paddock.jobs.api import Files, JobContext, NoCheckpoints, Progress
from paddock.jobs.registry import job_kind


def run_steps(
    terms: Terms,
    inputs: Mapping[str, Files],
    *,
    memory_limit_bytes: int,
    check: Callable[[], None],
    progress: Callable[[str, Progress], None],
    entered: Callable[[StepTerms], None],
    checkpoints: RunCheckpoints,
    resumed: Resumed | None,
) -> dict[str, dict[str, bytes]]:
    """Run every step in the signed order.

    Args:
        terms: the signed terms.
        inputs: each input's opened volume.
        memory_limit_bytes: what data and tensors of a step may take together.
        check: raises when the run must end.
        progress: takes a step's name and its progress.
        entered: called as a step begins.
        checkpoints: where it is kept how far they are.
        resumed: the checkpoint to go on from; None: begin at the beginning.

    Returns:
        `step.output` to files.

    Raises:
        JobRefused, ProgramRefused: a step cannot work on what it was given.
        LevelRefused: something that the level does not allow (L-2, L-8, L-9), asked again here after the keepers did.
    """
    check_level(terms)  # L-2, L-8, L-9
    for step in terms.steps:
        kind = job_kind(step.kind)
        kind.check_parameters(step.parameters)
    made: dict[str, dict[str, bytes]] = {}
    if resumed is not None:
        made = {reference: dict(files) for reference, files in resumed.made.items()}
    # K-6: finished steps are not done again.
    names = [step.name for step in terms.steps]
    first = 0 if resumed is None else names.index(resumed.step)
    for number, step in enumerate(terms.steps[first:], first):
        check()
        if number > first and checkpoints.due():
            checkpoints.save(step.name, made, None)
        entered(step)
        roles = {
            role: [MadeFiles(made[reference]) if "." in reference else inputs[reference] for reference in references]
            for role, references in step.inputs.items()
        }
        context = JobContext(
            parameters=step.parameters,
            inputs=roles,
            progress=_named(progress, step.name),
            check=check,
            memory_limit_bytes=memory_limit_bytes,
            checkpoints=StepCheckpoints(
                checkpoints, step.name, dict(made), resumed.state if resumed and number == first else None
            )
            if checkpoints.kept
            else NoCheckpoints(),
        )
        for output, files in job_kind(step.kind).run(context).items():
            made[f"{step.name}.{output}"] = files
    return made


def _named(progress: Callable[[str, Progress], None], step: str) -> Callable[[Progress], None]:
    return lambda value: progress(step, value)
