"""What an enclave of the warm pool does before there is a run: it loads the engine, and starts a worker in walls.

Nothing of a run is known then. If its contract is of a level whose jobs run in walls, and the worker may use at least what
was signed, the worker serves its first built-in step; else it is ended.
"""

from __future__ import annotations

import importlib

from paddock.contract.draft import DEFAULT_MEMORY_BYTES, DEFAULT_PROCESSES, DEFAULT_RUN_SECONDS
from paddock.contract.levels import Level
from paddock.enclave.workers import Ready, built_in_ceilings, start_worker
from paddock.errors import WallsUnavailable


def get_warm() -> Ready | None:
    """Load the engine here, as runs at L1 and L5 need it, and in a worker in walls, where those can be built."""
    importlib.import_module("paddock.jobs.engine")
    most = built_in_ceilings(DEFAULT_MEMORY_BYTES, DEFAULT_PROCESSES, DEFAULT_RUN_SECONDS)
    try:
        worker = start_worker(Level.L2, most, engine=True)
    except WallsUnavailable:
        return None  # a run that needs walls will find out itself, and say so
    return Ready(worker, most)
