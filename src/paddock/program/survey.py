"""Everything that is wrong with a program, for the developer who is about to seal it. An enclave stops at the first."""

from __future__ import annotations

from dataclasses import dataclass

from paddock.errors import OperationRefused, OperatorRefused, ProgramRefused
from paddock.program.document import RawOperation, RawParameter, read_document
from paddock.program.model import Limits, Program
from paddock.program.reader import Reader, read_program

_PYTHON = "Write it with PaddlePaddle's layers and functions: no Python travels with a program."
_RANDOM = "Use dropout: it is the one source of random numbers, and the signed seed is its seed."
_LISTS = "Append to a Python list in a `for` over a Python range."
_FILES = "Leave it out: weights travel as an input and an output of the contract."
_SCORES = "Give the scores out themselves; what is made of them is for the contract's steps."
_INSTEAD = {
    "pd_op.print": "Leave it out: metrics come from the steps of the contract, and nothing is printed inside.",
    "pd_op.py_func": _PYTHON,
    "pd_op.pylayer": _PYTHON,
    "pd_op.assert": "Leave it out: shapes are checked before anything runs.",
    "pd_op.uniform": _RANDOM, "pd_op.gaussian": _RANDOM, "pd_op.bernoulli": _RANDOM, "pd_op.randint": _RANDOM,
    "pd_op.randperm": _RANDOM, "pd_op.truncated_gaussian_random": _RANDOM, "pd_op.multinomial": _RANDOM,
    "pd_op.create_array": _LISTS, "pd_op.array_write_": _LISTS, "pd_op.array_read": _LISTS,
    "pd_op.array_length": _LISTS, "pd_op.array_to_tensor": _LISTS,
    "pd_op.save": _FILES, "pd_op.load": _FILES, "pd_op.save_combine": _FILES, "pd_op.load_combine": _FILES,
    "pd_op.argmax": _SCORES, "pd_op.argmin": _SCORES, "pd_op.topk": _SCORES, "pd_op.argsort": _SCORES,
    "pd_op.while": "Write a `for` over a Python range, or count its turns in whole numbers between fixed ones.",
    "pd_op.if": "Let weights or fixed numbers decide, not data; choose sample by sample with `paddle.where`.",
}  # fmt: skip
_BATCH = "Reduce, reshape, cut and decide within a sample: leave the first dimension, which is the batch, as it is."
_CUSTOM = "Write it with PaddlePaddle's own operators: code that is compiled for it does not travel."


@dataclass(frozen=True)
class Refusal:
    """One thing that keeps a program from being sealed.

    Args:
        code: of the error that an enclave would end with.
        operator: name with dialect; empty where it is not about one operation.
        place: in the file, from 0; None where it is not about one operation.
        layer: the developer's layer that it came from, as PaddlePaddle notes it; often empty.
        why: a sentence.
        instead: what to do.
    """

    code: str
    operator: str
    place: int | None
    layer: str
    why: str
    instead: str


def survey(data: bytes, limits: Limits) -> tuple[Program | None, tuple[Refusal, ...]]:
    """The program where it passes, and otherwise every refusal that does not merely follow from another one.

    What follows from a refused operation is not looked at, so a program that is corrected may be refused elsewhere.

    Args:
        data: the file.
        limits: what to accept.
    """
    try:
        return read_program(data, limits), ()
    except ProgramRefused as error:
        first = error
    surveyor = _Surveyor(limits)
    try:
        surveyor.document(read_document(data, limits))
    except ProgramRefused as error:
        surveyor.refusals.append(_refusal(error, None))
    # What is only wrong with the program as a whole is found at its end.
    return None, tuple(surveyor.refusals) or (_refusal(first, None),)


class _Follows(Exception):
    """A value is used whose operation was refused."""


class _Surveyor(Reader):
    """A reader that notes refusals and goes on. What it has read is never given out as a program."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.refusals: list[Refusal] = []
        self._lost: set[int] = set()
        self._seen: set[int] = set()

    def parameter(self, raw: RawParameter) -> None:
        """Take a parameter in, or note why not."""
        try:
            super().parameter(raw)
        except OperationRefused as error:
            self.refusals.append(_refusal(error, None))
            self._lost.add(raw.value)

    def operation(self, raw: RawOperation) -> None:
        """Take an operation in, or note why not."""
        try:
            super().operation(raw)
        except _Follows:
            pass
        except (OperatorRefused, OperationRefused) as error:
            if raw.place not in self._seen:
                self._seen.add(raw.place)
                self.refusals.append(_refusal(error, raw))
        else:
            return
        self._lost.update(each[0] for each in raw.outputs if each is not None)

    def _own(self, raw: RawOperation, value: int) -> int:
        if value in self._lost:
            raise _Follows
        return super()._own(raw, value)


def _refusal(error: ProgramRefused, raw: RawOperation | None) -> Refusal:
    if raw is None:
        return Refusal(error.code, "", None, "", error.detail, error.action)
    instead = _INSTEAD.get(raw.full_name, _CUSTOM if raw.dialect.startswith("dialect") else error.action)
    if "samples" in error.detail and raw.full_name not in _INSTEAD:
        instead = _BATCH
    listed = not isinstance(error, OperatorRefused)
    why = error.detail.removeprefix(f"{raw.where}: ") if listed else error.summary()
    return Refusal(error.code, raw.full_name, raw.place, raw.layer, why, instead)
