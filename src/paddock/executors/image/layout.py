"""Where things lie in a runtime image, and how something is started in it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import PurePosixPath

FACTS, ROOT = "image.json", "root"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
INTERPRETER = f"bin/python{VERSION}"
STANDARD = f"lib/python{VERSION}"
STANDARD_ZIP = f"lib/python{VERSION.replace('.', '')}.zip"
SITE, LIBRARIES = "site", "lib"
START, PACK, INDEX = "start.py", "modules.pack", "modules.json"


def start_command(root: PurePosixPath, module: str) -> list[str]:
    """Program and arguments that start a module, where the image's root is seen at `root`."""
    return [str(root / INTERPRETER), "-I", "-S", str(root / START), module]


def start_environment(root: PurePosixPath) -> Mapping[str, str]:
    """What the image's interpreter needs of an environment to find its libraries."""
    return {"LD_LIBRARY_PATH": str(root / LIBRARIES)}
