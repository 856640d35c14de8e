"""What of this installation a job sees: the interpreter, its packages, the C library. All of it read-only.

Nothing else of the host's files is inside: no other program, no configuration, no home folder.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARY_FOLDERS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
_MULTIARCH = ("/lib", "/usr/lib")
_SHELL = "/bin/sh"
"""PaddlePaddle asks a shell for facts when it is imported. It takes no answer for one, but not that there is no shell."""


@dataclass(frozen=True)
class Binding:
    """A file or folder that is shown inside, read-only.

    Args:
        source: on this machine.
        target: absolute, inside.
    """

    source: Path
    target: PurePosixPath

    def __post_init__(self) -> None:
        if not self.source.is_absolute() or not self.target.is_absolute() or ".." in self.target.parts:
            raise ValueError("a binding has absolute paths")


@dataclass(frozen=True)
class Link:
    """A symbolic link inside."""

    target: PurePosixPath
    leads_to: str


@dataclass(frozen=True)
class Image:
    """Everything read-only that a job sees, and the interpreter in it."""

    bindings: tuple[Binding, ...]
    links: tuple[Link, ...]
    python: str


@cache
def installed_image() -> Image:
    """The image of this process's own installation: every path is the same inside as outside."""
    interpreter = Path(os.path.realpath(sys.executable))
    paths = sysconfig.get_paths()
    wanted = [interpreter, *(Path(paths[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib"))]
    wanted += [Path(entry) for entry in sys.path if _is_ours(Path(entry))]
    wanted.append(_PACKAGE)
    links: list[Link] = []
    if sys.prefix != sys.base_prefix:
        wanted.append(Path(sys.prefix) / "pyvenv.cfg")
    wanted += _shared_interpreter()
    for folder in _libraries():
        if folder.is_symlink():
            links.append(Link(PurePosixPath(folder), str(folder.readlink())))
        else:
            wanted.append(folder)
    wanted.append(Path("/etc/ld.so.cache"))
    started = Path(sys.executable)
    if started.is_symlink():
        links.append(Link(PurePosixPath(started), str(interpreter)))
    real = sorted({Path(os.path.realpath(path)) for path in wanted if path.exists()})
    kept: list[Path] = []
    for path in real:  # sorted: a folder comes before what is in it
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    bindings = [Binding(path, PurePosixPath(path)) for path in kept]
    bindings.append(Binding(Path(os.path.realpath(_SHELL)), PurePosixPath(_SHELL)))
    return Image(
        tuple(bindings),
        tuple(link for link in links if not any(Path(link.target).is_relative_to(path) for path in kept)),
        sys.executable,
    )


def _is_ours(entry: Path) -> bool:
    # Modules of the standard library that are compiled lie in a folder of their own below it on some systems.
    return entry.is_absolute() and entry.name == "lib-dynload"


def _shared_interpreter() -> list[Path]:
    """The interpreter's own shared library, where it has one outside the system's folders."""
    folder, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
    if not folder or not name or not str(name).endswith((".so", ".so.1.0")):
        return []
    return [Path(str(folder)) / str(name)]


def _libraries() -> list[Path]:
    multiarch = sysconfig.get_config_var("MULTIARCH") or "x86_64-linux-gnu"
    found = []
    for name in _LIBRARY_FOLDERS:
        folder = Path(name)
        if folder.is_symlink():
            found.append(folder)
        elif name in _MULTIARCH:
            found.append(folder / str(multiarch))
        else:
            found.append(folder)
    return [folder for folder in found if folder.exists()]
