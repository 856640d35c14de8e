"""The walls around a job: what it can reach is its inputs, its own memory, and one channel. Nothing of this is optional.

Rules: docs/spec/walls.md (W-1 and following).
"""

from paddock.walls.ceilings import Ceilings
from paddock.walls.checks import WallsReport, check_walls
from paddock.walls.defences import ALL, Defence, Defences
from paddock.walls.image import Binding
from paddock.walls.start import Walled, start_walled

__all__ = [
    "ALL",
    "Binding",
    "Ceilings",
    "Defence",
    "Defences",
    "Walled",
    "WallsReport",
    "check_walls",
    "start_walled",
]
