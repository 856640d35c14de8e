"""What of an installed runtime no enclave needs. Each rule says why; what no rule names is kept."""

from __future__ import annotations

from pathlib import PurePosixPath

_SUFFIXES = {
    ".a": "static libraries: for linking",
    ".c": "sources of C",
    ".cc": "as above",
    ".cpp": "as above",
    ".cu": "as above",
    ".cuh": "as above",
    ".exe": "programs for Windows",
    ".h": "headers: for compiling extensions",
    ".hpp": "as above",
    ".inl": "as above",
    ".pth": "lines that the interpreter would run at its start; the image's does not look for them",
    ".pxd": "for compiling with Cython",
    ".pyi": "types: for checkers",
    ".pyx": "as .pxd",
}
_NAMES = {
    "py.typed": "for checkers",
    "INSTALLER": "a note of the installer",
    "RECORD": "as above",
    "REQUESTED": "as above",
}
_FOLDERS = {
    "__pycache__": "byte code is compiled anew: nothing vouches for what lies there",
    "include": "headers",
    "tests": "tests of packages",
}
_PATHS = {
    "paddle/libs/libopenvino_intel_cpu_plugin.so.2500": "of another engine, which no job of ours starts; 60 MB",
    "paddle/libs/libwarpctc.so": "a loss that no job of ours knows",
    "paddle/libs/libwarprnnt.so": "as above",
}
_STANDARD = {
    "ensurepip": "installs pip",
    "idlelib": "an editor",
    "lib2to3": "translates Python 2",
    "pydoc_data": "texts of the language's help",
    "site-packages": "listed by distribution",
    "test": "tests of the interpreter",
    "tkinter": "windows",
    "turtledemo": "as tkinter",
    "turtle.py": "as tkinter",
}
_DYNLOAD = ("_curses", "_dbm", "_gdbm", "_test", "_tkinter", "_xxtestfuzz", "nis.", "ossaudiodev", "readline", "xx")


def kept_of_distribution(path: PurePosixPath) -> bool:
    """Whether an enclave may need this file of an installed distribution.

    Args:
        path: relative to `site-packages`.
    """
    if ".." in path.parts or path.is_absolute() or str(path) in _PATHS or path.name in _NAMES or path.suffix == ".pyc":
        return False
    if path.suffix in _SUFFIXES or any(part in _FOLDERS for part in path.parts[:-1]):
        return False
    # Of the notes beside a distribution, those by which it and its plug-ins are found.
    return not path.parts[0].endswith(".dist-info") or path.name in {"METADATA", "entry_points.txt", "top_level.txt"}


def kept_of_standard_library(path: PurePosixPath) -> bool:
    """Whether an enclave may need this file of the standard library.

    Args:
        path: relative to its folder.
    """
    first = path.parts[0]
    if first in _STANDARD or first.startswith("config-") or "__pycache__" in path.parts or "tests" in path.parts[:-1]:
        return False
    if first == "lib-dynload":
        return not path.name.startswith(_DYNLOAD)
    return path.suffix == ".py"
