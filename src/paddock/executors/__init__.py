"""How an enclave is started on a node. An executor is trusted for availability only: what it starts proves itself."""

from paddock.executors.executor import ExecutionState, Executor, Launch, OnEvent
from paddock.executors.plugins import load_plugin

__all__ = ["ExecutionState", "Executor", "Launch", "OnEvent", "load_plugin"]
