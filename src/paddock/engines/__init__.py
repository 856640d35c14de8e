"""Where runs are placed. An engine is trusted for availability only."""

from paddock.engines.engine import STARTED, Engine, OnRunEvent, Placement

__all__ = ["STARTED", "Engine", "OnRunEvent", "Placement"]
