"""First steps of the interpreter in a runtime image: modules come from one packed file, then the named one is started.

Run as `python -I -S start.py MODULE ARGUMENT…` in the image's own interpreter. The packed modules behave as if they lay as
byte code in the folder `site` beside this file, where what is not a module does lie. One file instead of thousands, because
environments verify each file that is opened; byte code without sources, because their clocks of files stand still.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType

ROOT = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib would be imported before modules can be
SITE = ROOT + "/site"


class PackedModules:
    """Finds modules in the packed file (`importlib.abc.MetaPathFinder`)."""

    def __init__(self, pack: str, index: str) -> None:
        with open(index, encoding="utf-8") as file:  # noqa: PTH123 - as above
            self._places: dict[str, list[int]] = json.load(file)
        self._folders = {place[:at] for place in self._places for at, letter in enumerate(place) if letter == "/"}
        self._pack = os.open(pack, os.O_RDONLY | os.O_CLOEXEC)

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG002 - the protocol's
    ) -> importlib.machinery.ModuleSpec | None:
        """The module of that name, if it was packed."""
        last = name.rpartition(".")[2]
        for folder in [SITE] if path is None else path:
            stem = f"{folder}/{last}"
            for file, inside in ((f"{stem}/__init__.pyc", [stem]), (f"{stem}.pyc", None)):
                if self.holds(file):
                    loader = PackedLoader(name, file, self)
                    return importlib.util.spec_from_file_location(
                        name, file, loader=loader, submodule_search_locations=inside
                    )
            if stem.removeprefix(SITE + "/") in self._folders:  # a package without a module of its own (PEP 420)
                spec = importlib.machinery.ModuleSpec(name, None, is_package=True)
                spec.submodule_search_locations = [stem]
                return spec
        return None

    def holds(self, path: str) -> bool:
        """Whether a module is said to lie there."""
        return path.startswith(SITE) and path[len(SITE) + 1 :] in self._places

    def read(self, path: str) -> bytes | None:
        """The byte code that is said to lie there; None when nothing was packed under that name."""
        if not self.holds(path):
            return None
        offset, size = self._places[path[len(SITE) + 1 :]]
        return os.pread(self._pack, size, offset)


class PackedLoader(importlib.machinery.SourcelessFileLoader):
    """Loads byte code from the packed file, everything else from where it lies."""

    def __init__(self, name: str, path: str, modules: PackedModules) -> None:
        super().__init__(name, path)
        self._modules = modules

    def get_data(self, path: str) -> bytes:
        """See `importlib.abc.ResourceLoader`."""
        packed = self._modules.read(path)
        return super().get_data(path) if packed is None else packed


def main(arguments: list[str]) -> None:
    """Become the module that the first argument names."""
    # Before the finder of folders: it would take a package's folder, where its other files are, for the package.
    sys.meta_path.insert(-1, PackedModules(ROOT + "/modules.pack", ROOT + "/modules.json"))
    sys.path.append(SITE)
    sys.argv = arguments
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
