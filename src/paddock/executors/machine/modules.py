"""Which modules of a kernel are loaded, in which order: every one after those that it needs.

Source: Linux, include/linux/module.h (`.modinfo`: texts `name=value` that end with a zero byte).
"""

from __future__ import annotations

import gzip
import lzma
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from paddock.errors import ExecutorFailed

_NEEDS = re.compile(rb"(?:^|\0)depends=([A-Za-z0-9_,-]*)\0")
_SUFFIXES = (".ko", ".ko.xz", ".ko.gz")


def find_modules(folder: Path) -> dict[str, Path]:
    """The modules below a folder, by name as the kernel writes it.

    Raises:
        ExecutorFailed: there are none.
    """
    found = {}
    for file in sorted(folder.rglob("*.ko*")):
        if file.name.endswith(_SUFFIXES):
            found[file.name.partition(".ko")[0].replace("-", "_")] = file
    if not found:
        raise ExecutorFailed(f"There are no kernel modules in {folder} ({', '.join(_SUFFIXES)}).")
    return found


def read_module(file: Path) -> bytes:
    """A module as the kernel takes it, with its signature.

    Raises:
        ExecutorFailed: it cannot be unpacked.
    """
    content = file.read_bytes()
    try:
        if file.suffix == ".xz":
            return lzma.decompress(content)
        return gzip.decompress(content) if file.suffix == ".gz" else content
    except (lzma.LZMAError, OSError, EOFError) as error:
        raise ExecutorFailed(f"The kernel module {file.name} cannot be unpacked.") from error


def load_order(modules: Mapping[str, Path], wanted: Sequence[str], *, optional: Sequence[str] = ()) -> dict[str, bytes]:
    """The wanted modules and those that they need, in the order in which they can be loaded, each with its content.

    Args:
        modules: see `find_modules`.
        wanted: names; each must be there.
        optional: names that are left out where the kernel has them built in or not at all.

    Raises:
        ExecutorFailed: one that is needed is not there.
    """
    order: dict[str, bytes] = {}
    for name in [*wanted, *(each for each in optional if each in modules)]:
        _add(name, modules, order, ())
    return order


def _add(name: str, modules: Mapping[str, Path], order: dict[str, bytes], above: tuple[str, ...]) -> None:
    if name in order:
        return
    if name not in modules or name in above:
        raise ExecutorFailed(f"The kernel has no module '{name}', or it needs itself.")
    content = read_module(modules[name])
    match = _NEEDS.search(content)
    for needed in match[1].decode("ascii").split(",") if match and match[1] else ():
        _add(needed.replace("-", "_"), modules, order, (*above, name))
    order[name] = content
