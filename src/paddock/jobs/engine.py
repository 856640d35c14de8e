"""PaddlePaddle, imported once and quietly. Every module of this room takes it from here."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from paddock.jobs.childless import no_children

_root = logging.getLogger()
_before = (_root.level, list(_root.handlers))
with warnings.catch_warnings(), no_children():
    # At import it says that compiling extensions would be faster with ccache, and that some of its own calls are
    # deprecated. Nothing is compiled here, and a job's process has nobody to read this.
    warnings.simplefilter("ignore")
    import paddle

# It also makes itself the logger of the whole process, at a level at which every request of ours would be printed.
_root.setLevel(_before[0])
_root.handlers[:] = _before[1]

# Its handlers would print a stack to the host's log where something crashes, and keep a process from ending when told.
paddle.disable_signal_handler()

engine: Any = paddle
functional: Any = paddle.nn.functional
kernels: Any = paddle._C_ops  # noqa: SLF001 - recurrent layers have no public functional form

__all__ = ["engine", "functional", "kernels"]
