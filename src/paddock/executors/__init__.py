"""How an enclave is started on a node. An executor is trusted for availability only: what it starts proves itself."""

from paddock.executors.executor import (
    Buildable,
    Built,
    ExecutionState,
    Executor,
    Launch,
    OnEvent,
    Registers,
    TellsRegisters,
)
from paddock.executors.plugins import load_plugin, make_executor, plugin_names
from paddock.executors.settings import check_settings, read_settings

__all__ = [
    "Buildable",
    "Built",
    "ExecutionState",
    "Executor",
    "Launch",
    "OnEvent",
    "Registers",
    "TellsRegisters",
    "check_settings",
    "load_plugin",
    "make_executor",
    "plugin_names",
    "read_settings",
]
