"""The root file system of a machine: the runtime, and the few programs of the system that an enclave calls.

It is laid out as installations usually are, so that what starts a job in its walls finds interpreter and packages where they are
everywhere else. Modules are byte code without sources, as in every runtime image (docs/adr/0023-runtime-image.md).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paddock.errors import ExecutorFailed, RuntimeIncomplete
from paddock.executors.image.libraries import find_libraries
from paddock.executors.image.listing import ENCLAVE, INTERPRETER, LIBRARIES, SITE, STANDARD, list_runtime
from paddock.executors.image.writing import compile_modules

PREFIX, SYSTEM_LIBRARIES, LOADER = "usr/lib/paddock", "usr/lib/x86_64-linux-gnu", "ld-linux-x86-64.so.2"
_HERE = Path(__file__).parent / "guest"
_WHERE_PROGRAMS_ARE = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_APPLETS = ("[", "cat", "env", "ip", "mkdir", "mount", "poweroff", "reboot", "sh", "sync")
_PROGRAMS = {"bwrap": "bubblewrap"}
_TPM_PROGRAMS = {"tpm2": "tpm2-tools"}
_TPM_NAMES = ("tpm2_quote", "tpm2_readpublic", "tpm2_getcap")
_LOADED_BY_NAME = ("libseccomp.so.2", "libgcc_s.so.1")
_TPM_LOADED_BY_NAME = ("libtss2-tcti-device.so.0",)
"""Libraries that no ELF header names: they are opened by name."""
_FOLDERS = ("proc", "sys", "dev", "tmp", "run", "root", "usr/sbin")
_LINKS = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    f"usr/lib64/{LOADER}": f"../lib/x86_64-linux-gnu/{LOADER}",
    "etc/mtab": "../proc/self/mounts",
}
_TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_ENTRIES = (ENCLAVE, "paddock.walls.trial", "paddock.worker.__main__")
_SITE = f"{PREFIX}/{STANDARD}/site-packages"
_FILE_NAME = re.compile(r'"([a-z_]+\.py)"')
_ASK_SECONDS = 60


@dataclass(frozen=True)
class Guest:
    """What one kind of machine has of its own.

    Args:
        start: its first program.
        tpm: whether it has the tools of a TPM.
        files: further ones: place to source.
    """

    start: Path
    tpm: bool
    files: Mapping[str, Path] = field(default_factory=dict)


MACHINE = Guest(_HERE / "start.sh", tpm=True)
"""A machine that QEMU starts."""


def program(name: str, package: str) -> Path:
    """A program of this machine.

    Raises:
        ExecutorFailed: it is not installed; the package that brings it.
    """
    found = shutil.which(name, path=_WHERE_PROGRAMS_ARE)
    if found is None:
        raise ExecutorFailed(f"{name} is not installed (Debian: apt-get install {package}).")
    return Path(found)


def with_libraries(programs: Mapping[str, Path], by_name: Iterable[str] = ()) -> dict[str, Path]:
    """Programs and all shared libraries that they need, the C library too: place to source.

    Args:
        programs: place to source.
        by_name: further libraries, which are opened by name.

    Raises:
        RuntimeIncomplete: a library is not installed.
    """
    named = {name: _library(name) for name in by_name}
    found, missing = find_libraries([*programs.values(), *named.values()], own=named)
    if missing:
        raise RuntimeIncomplete(f"Shared libraries were not found: {', '.join(sorted(missing)[:5])}.")
    libraries = {**named, **found}
    libraries.setdefault(LOADER, _library(LOADER))
    return {**programs, **{f"{SYSTEM_LIBRARIES}/{name}": source for name, source in libraries.items()}}


def write_tree(folder: Path, guest: Guest = MACHINE) -> Mapping[str, object]:
    """Write the root file system into a new folder; everything in it is readable by all and written by nobody.

    Args:
        folder: where to.
        guest: whose it is.

    Returns:
        What it was made from: `distributions`, and `system` (packages of the distribution, where it tells), by version.

    Raises:
        ExecutorFailed, RuntimeIncomplete, ImageFailed: something is not installed.
    """
    entries = [name for name in _ENTRIES if name == ENCLAVE or _is_there(name)]
    runtime = list_runtime(entries, c_library=True)
    files = {_placed(place): source for place, source in runtime.files.items()}
    needed = _PROGRAMS | _TPM_PROGRAMS if guest.tpm else _PROGRAMS
    programs = {f"usr/bin/{name}": program(name, package) for name, package in needed.items()}
    files |= with_libraries(programs, (*_LOADED_BY_NAME, *(_TPM_LOADED_BY_NAME if guest.tpm else ())))
    files |= {f"{_SITE}/{place}": source for place, source in _started_by_path(runtime.modules).items()}
    files["usr/bin/busybox"] = program("busybox", "busybox-static")
    files |= guest.files
    folder.mkdir()
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for place, source in sorted(files.items()):
        _copy(source, folder / place)
    _copy(guest.start, folder / "usr/sbin/init", executable=True)
    for kind, modules in (
        (_SITE, runtime.modules),
        (f"{PREFIX}/{STANDARD}", runtime.standard),
    ):
        _write_modules(folder, kind, modules)
    for place, text in _TEXTS.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(text, encoding="ascii")
    links = {**_LINKS, **{f"usr/bin/{name}": "busybox" for name in _APPLETS}}
    links |= {f"{PREFIX}/bin/python3": Path(INTERPRETER).name}
    if guest.tpm:
        links |= {f"usr/bin/{name}": "tpm2" for name in _TPM_NAMES}
    for place, target in links.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).symlink_to(target)
    return {"distributions": dict(runtime.distributions), "system": _system_packages(files.values())}


def _placed(place: str) -> str:
    first, _, rest = place.partition("/")
    if first == SITE:
        return f"{_SITE}/{rest}"
    if first == LIBRARIES and "/" not in rest:
        return f"{SYSTEM_LIBRARIES}/{rest}"
    return f"{PREFIX}/{place}"


def _started_by_path(modules: Mapping[str, Path]) -> dict[str, Path]:
    """Those of our modules that others of ours start as files: these stand inside as sources, too."""
    own = {place: source for place, source in modules.items() if place.startswith("paddock/")}
    found = {}
    for place, source in own.items():
        for name in _FILE_NAME.findall(source.read_text(encoding="utf-8")):
            beside = f"{place.rpartition('/')[0]}/{name}"
            if beside in own:
                found[beside] = own[beside]
            elif (source.parent / name).is_file():
                found[beside] = source.parent / name
    return found


def _is_there(module: str) -> bool:
    package = Path(__file__).resolve().parents[2]
    return package.joinpath(*module.split(".")[1:]).with_suffix(".py").is_file()


def _library(name: str) -> Path:
    for folder in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"):
        if (Path(folder) / name).is_file():
            return (Path(folder) / name).resolve()
    raise RuntimeIncomplete(f"The shared library {name} was not found.")


def _write_modules(folder: Path, below: str, modules: Mapping[str, Path]) -> None:
    pack = folder / "modules.pack"
    index = compile_modules(modules, pack)
    with pack.open("rb") as source:
        for place, (offset, size) in index.items():
            target = folder / below / place
            target.parent.mkdir(parents=True, exist_ok=True)
            source.seek(offset)
            target.write_bytes(source.read(size))
    pack.unlink()


def _copy(source: Path, target: Path, *, executable: bool = False) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o555 if executable or os.access(source, os.X_OK) else 0o444)


def _system_packages(files: Iterable[Path]) -> dict[str, str]:
    """Name to version of the distribution's packages that these files belong to; empty where no dpkg tells."""
    if shutil.which("dpkg-query") is None:
        return {}
    owners: set[str] = set()
    names = sorted({str(file) for file in files})
    # A file may be known by its place before or after /usr was merged.
    names += [name.removeprefix("/usr") if name.startswith("/usr/") else f"/usr{name}" for name in names]
    for line in _asked(["dpkg-query", "--search", "--", *names]).splitlines():
        owner, _, place = line.rpartition(": ")
        if place.startswith("/") and not owner.startswith("diversion"):
            owners.update(each.strip() for each in owner.split(","))
    if not owners:
        return {}
    rows = _asked(["dpkg-query", "--show", "--showformat", "${Package}=${Version}\n", "--", *sorted(owners)])
    pairs = (row.partition("=") for row in rows.splitlines())
    return {name: version for name, equals, version in sorted(pairs) if equals}


def _asked(command: list[str]) -> str:
    # Files that belong to no package make it fail, and are told on stderr.
    done = subprocess.run(  # noqa: S603 - a fixed program
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_ASK_SECONDS,
        check=False,
        env={"PATH": _WHERE_PROGRAMS_ARE, "LC_ALL": "C"},
    )
    return done.stdout
