"""Running a contract's steps: inputs and what earlier steps made go in, files come out, nothing else does."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import BinaryIO

from paddock.contract.levels import check_job_allowed
from paddock.contract.terms import StepTerms, Terms
from paddock.jobs.api import Files, JobContext, Progress
from paddock.jobs.registry import job_kind


class MadeFiles:
    """What a step made, as files for a later one. In memory only."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(files)

    def names(self) -> list[str]:
        """Paths, sorted."""
        return sorted(self._files)

    def size(self, name: str) -> int:
        """Size in bytes."""
        return len(self._files[name])

    def open(self, name: str) -> BinaryIO:
        """The file's content."""
        return io.BytesIO(self._files[name])


def run_steps(
    terms: Terms,
    inputs: Mapping[str, Files],
    *,
    check: Callable[[], None],
    progress: Callable[[str, Progress], None],
    entered: Callable[[StepTerms], None],
) -> dict[str, dict[str, bytes]]:
    """Run every step in the signed order.

    Args:
        terms: the signed terms.
        inputs: each input's opened volume.
        check: raises when the run must end.
        progress: takes a step's name and its progress.
        entered: called as a step begins.

    Returns:
        `step.output` to files.

    Raises:
        JobRefused, ProgramRefused: a step cannot work on what it was given.
        LevelRefused: a kind that the level does not allow (L-2), asked again here after the keepers did.
    """
    made: dict[str, dict[str, bytes]] = {}
    for step in terms.steps:
        check_job_allowed(terms.level, step.kind)  # L-2
        kind = job_kind(step.kind)
        kind.check_parameters(step.parameters)
    for step in terms.steps:
        check()
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
            memory_limit_bytes=terms.limits.memory_bytes,
        )
        for output, files in job_kind(step.kind).run(context).items():
            made[f"{step.name}.{output}"] = files
    return made


def _named(progress: Callable[[str, Progress], None], step: str) -> Callable[[Progress], None]:
    return lambda value: progress(step, value)
