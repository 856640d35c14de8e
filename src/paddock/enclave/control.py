"""Output control: what leaves is what the contract lists, of the type and within the size that all signed. At every level.

It is asked of what a job made, wherever it ran, before anything is sealed. Source: docs/spec/gateway.md §5 (J-16 to J-20,
L-12).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from paddock.contract.levels import LEVELS, is_built_in
from paddock.contract.output_types import OutputType
from paddock.contract.terms import OutputTerms, StepTerms, Terms
from paddock.enclave import typed
from paddock.enclave.tensors import TensorForm
from paddock.enclave.typed import Strictness
from paddock.errors import OutputMissing, OutputRefused, OutputTooLarge
from paddock.jobs.api import Files
from paddock.jobs.inputs import read_volume_program

Made = Mapping[str, Mapping[str, bytes]]
_CHECKS: Mapping[OutputType, Callable[[str, bytes, Strictness], bytes]] = {
    OutputType.WEIGHTS: typed.weights,
    OutputType.METRICS: typed.numbers,
    OutputType.CURVE: typed.numbers,
    OutputType.TABLE: typed.table,
    OutputType.TEXT: typed.text,
    OutputType.FILES: typed.any_file,
}
_FILES: Mapping[OutputType, frozenset[str]] = {
    OutputType.WEIGHTS: frozenset({"weights.safetensors", "preprocessing.json"}),
    OutputType.METRICS: frozenset({"metrics.json", "roc.json"}),
    OutputType.CURVE: frozenset({"curve.json"}),
    OutputType.TABLE: frozenset({"predictions.csv"}),
}
"""What files are called where no words may leave: a name is one."""


def controlled(terms: Terms, made: Made, inputs: Mapping[str, Files]) -> dict[str, Mapping[str, bytes]]:
    """What was made, of which every output of the contract has files as they may leave.

    Numbers are rounded and counted where outputs are sealed (L-10).

    Args:
        terms: the signed terms.
        made: `step.output` to files.
        inputs: the contract's inputs, opened: what weights must hold is told by a step's program.

    Raises:
        OutputMissing: a job did not yield what the contract lists.
        OutputTooLarge: more bytes than an output, or all together, may have (J-16).
        OutputRefused: an output is not of its type (J-17 to J-20), or says more than its level lets (L-12).
    """
    leaving: dict[str, Mapping[str, bytes]] = dict(made)
    _check_sizes(terms, leaving)
    for _, output in sorted(terms.outputs.items()):
        strict = _strictness(terms, output, inputs)
        leaving[output.source] = {
            path: _CHECKS[output.type](_named(output, path, strict), content, strict)
            for path, content in leaving[output.source].items()
        }
    _check_sizes(terms, leaving)  # what was written anew may be larger than what was made
    return leaving


def _check_sizes(terms: Terms, leaving: Made) -> None:
    total = 0
    for name, output in sorted(terms.outputs.items()):
        if output.source not in leaving:
            raise OutputMissing(f"'{output.source}' was not made.")
        size = sum(len(content) for content in leaving[output.source].values())
        total += size
        if size > output.max_bytes:  # J-16
            raise OutputTooLarge(f"'{name}' has {size} bytes and may have {output.max_bytes}.")
        if total > terms.limits.output_bytes:  # J-16
            raise OutputTooLarge(f"All outputs together may have {terms.limits.output_bytes} bytes.")


def _named(output: OutputTerms, path: str, strict: Strictness) -> str:
    if not strict.words and path not in _FILES[output.type]:  # L-12
        raise OutputRefused(f"An output of type '{output.type}' has a file with a name that none may have.")
    return path


def _strictness(terms: Terms, output: OutputTerms, inputs: Mapping[str, Files]) -> Strictness:
    if LEVELS[terms.level].free_outputs:
        return Strictness(words=True)
    # L-12: exactly the program's tensors, the mapping's names and the signed column of identifiers.
    step = next(each for each in terms.steps if each.name == output.source.partition(".")[0])
    mapping = step.parameters.get("mapping", {})
    column = step.parameters.get("id_column")
    return Strictness(
        words=False,
        tensors=_tensors(step, inputs) if output.type is OutputType.WEIGHTS else None,
        text_columns=frozenset() if column is None else frozenset({str(column)}),
        fitted=frozenset(map(str, mapping)),
    )


def _tensors(step: StepTerms, inputs: Mapping[str, Files]) -> dict[str, TensorForm]:
    programs = step.inputs.get("program", ())
    if not is_built_in(step.kind) or len(programs) != 1 or programs[0] not in inputs:
        raise OutputRefused("Weights of a step without one sealed program may not leave at this level.")
    program = read_volume_program(inputs[programs[0]])
    return {each.name: TensorForm(each.type.dtype, each.type.shape) for each in program.parameters}
