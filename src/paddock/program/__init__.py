"""Sealed programs: PaddlePaddle's saved graph as data, read strictly, with an allow-list of operators. No Paddle here."""

from paddock.program.memory import memory_bound
from paddock.program.model import STANDARD_LIMITS, Input, Limits, Operation, Parameter, Program, TensorType
from paddock.program.reader import read_program
from paddock.program.survey import Refusal, survey
from paddock.program.work import work_bound

__all__ = [
    "STANDARD_LIMITS",
    "Input",
    "Limits",
    "Operation",
    "Parameter",
    "Program",
    "Refusal",
    "TensorType",
    "memory_bound",
    "read_program",
    "survey",
    "work_bound",
]
