"""What goes into a runtime image: every file by its place inside and its source on this machine. Nothing is written here."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

from paddock.errors import RuntimeIncomplete
from paddock.evidence.measurement import needed_distributions
from paddock.executors.image.imports import Reached, find_module, reach
from paddock.executors.image.layout import INTERPRETER, LIBRARIES, SITE, STANDARD
from paddock.executors.image.libraries import C_LIBRARY, find_libraries
from paddock.executors.image.pruning import kept_of_distribution, kept_of_standard_library

__all__ = [
    "ENCLAVE",
    "INTERPRETER",
    "LIBRARIES",
    "SITE",
    "STANDARD",
    "Listing",
    "list_runtime",
    "needed_libraries",
]

ENCLAVE = "paddock.enclave.__main__"
PLUGINS = ("paddock.jobs", "paddock.evidence")
_UNDECLARED = {"paddlepaddle": ("setuptools",)}
"""What a distribution imports as it is imported, and does not always say that it requires."""


@dataclass(frozen=True)
class Listing:
    """The parts of an image.

    Args:
        modules: Python modules below `site`: place (`a/b.py`) to source.
        standard: as `modules`, of the standard library.
        files: everything else: place in the image to source.
        distributions: name to version of what was taken from.
        entries: modules that can be started.
    """

    modules: Mapping[str, Path]
    standard: Mapping[str, Path]
    files: Mapping[str, Path]
    distributions: Mapping[str, str]
    entries: tuple[str, ...]


def list_runtime(entries: Iterable[str] = (ENCLAVE,), *, c_library: bool) -> Listing:
    """List what the installed runtime must give an image in which these modules are started.

    Args:
        entries: full names of modules of ours.
        c_library: whether the image holds the C library as well; not where the environment brings its own.

    Raises:
        RuntimeIncomplete: a distribution or a shared library that is needed is not installed.
    """
    package = Path(__file__).resolve().parents[2]
    starts = tuple(entries)
    reached = reach(package, [*starts, *_plugin_modules()])
    modules, files = _own(package, reached)
    distributions = _distributions(reached)
    for distribution in distributions.values():
        for path in distribution.files or ():
            place = PurePosixPath(path)
            if kept_of_distribution(place):
                into = modules if place.suffix == ".py" else files
                into[str(place) if into is modules else f"{SITE}/{place}"] = Path(str(distribution.locate_file(path)))
    own = metadata.distribution("paddock")
    for path in own.files or ():  # its plug-ins are found by these
        if path.name in {"METADATA", "entry_points.txt"}:
            files[f"{SITE}/paddock-{own.version}.dist-info/{path.name}"] = Path(str(own.locate_file(path)))
    standard, dynamic = _standard_library()
    files |= dynamic | {INTERPRETER: Path(sys.executable).resolve()}
    files |= needed_libraries(files, c_library=c_library)
    versions = {name: each.version for name, each in sorted(distributions.items())} | {"paddock": own.version}
    return Listing(modules, standard, files, versions, starts)


def needed_libraries(files: Mapping[str, Path], *, c_library: bool) -> dict[str, Path]:
    """The shared libraries that these files need and that are not among them: place in the image to source.

    Raises:
        RuntimeIncomplete: one was not found.
    """
    own = {Path(place).name: source for place, source in files.items() if ".so" in Path(place).name}
    skipped: dict[str, Path] = {} if c_library else {name: Path("/") / name for name in C_LIBRARY}
    found, missing = find_libraries(files.values(), own={**own, **skipped})
    if missing:
        told = ", ".join(f"{name} (for {by})" for name, by in sorted(missing.items())[:5])
        raise RuntimeIncomplete(f"Shared libraries were not found: {told}.")
    return {f"{LIBRARIES}/{name}": path for name, path in found.items()}


def _plugin_modules() -> list[str]:
    points = [point for group in PLUGINS for point in metadata.entry_points(group=group)]
    return sorted({point.module for point in points if point.module.startswith("paddock.")})


def _own(package: Path, reached: Reached) -> tuple[dict[str, Path], dict[str, Path]]:
    modules = {}
    for name in sorted(reached.modules):
        file = find_module(package, name)
        if file is not None:
            modules[f"{package.name}/{file.relative_to(package).as_posix()}"] = file
    # What lies beside the modules as data: the vendors' roots.
    folders = {file.parent for file in modules.values()}
    data = {
        f"{SITE}/{package.name}/{file.relative_to(package).as_posix()}": file
        for folder in sorted(folders)
        for file in sorted(folder.iterdir())
        if file.is_file() and file.suffix != ".py"
    }
    return modules, data


def _distributions(reached: Reached) -> dict[str, metadata.Distribution]:
    # What nothing of ours requires is optional where it is imported, and not part of what is measured.
    declared = needed_distributions([("paddock", ""), ("paddock", "paddle")])
    roots = {
        name
        for name, distribution in declared.items()
        if reached.foreign & {path.parts[0].partition(".")[0] for path in distribution.files or ()}
    }
    more = {extra for name in roots for extra in _UNDECLARED.get(name, ())}
    return needed_distributions((name, "") for name in sorted(roots | more) if name != "paddock")


def _standard_library() -> tuple[dict[str, Path], dict[str, Path]]:
    folder = Path(sysconfig.get_path("stdlib"))
    modules, dynamic = {}, {}
    for file in _walk(folder):
        place = file.relative_to(folder).as_posix()
        if not kept_of_standard_library(PurePosixPath(place)):
            continue
        if file.suffix == ".py":
            modules[place] = file
        else:
            dynamic[f"{STANDARD}/{place}"] = file
    return modules, dynamic


def _walk(folder: Path) -> Iterator[Path]:
    for child in sorted(folder.iterdir()):
        if child.is_dir():
            if child.name not in {"site-packages", "test", "__pycache__"}:
                yield from _walk(child)
        elif child.is_file():
            yield child
