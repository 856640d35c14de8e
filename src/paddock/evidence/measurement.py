"""The measurement of the runtime: what code would run, as one digest.

Covered: the Python version, every file of the installed Paddock package, and every file of each distribution that the
enclave needs (`paddock[paddle]` and what it requires), by content. Not covered: byte-code caches, installers' own
notes, console scripts; on real hardware the whole image is measured instead.

Source: docs/spec/attestation.md §6 (A-9).
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from paddock.crypto.canonical import canonical
from paddock.crypto.digest import sha256_id
from paddock.errors import RuntimeIncomplete

VERSION = "paddock/measurement/v1"
_ROOT = "paddock"
_ROOTS = ((_ROOT, ""), (_ROOT, "paddle"))
_INSTALLER_FILES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"})
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Measurement:
    """A digest and what it was made of."""

    digest: str
    python: str
    distributions: dict[str, dict[str, str]]

    def to_dict(self) -> dict[str, object]:
        """As JSON values; `digest` is the digest over the canonical JSON of the rest."""
        return {"version": VERSION, "python": self.python, "distributions": self.distributions, "digest": self.digest}


def measure_runtime(progress: Callable[[str], None] | None = None) -> Measurement:
    """Measure the runtime as it is installed here: the same twice on two machines from the same lock file.

    Args:
        progress: called with each distribution's name as it is measured.

    Raises:
        RuntimeIncomplete: a distribution that the enclave needs is not installed.
    """
    package = Path(__file__).resolve().parent.parent
    distributions: dict[str, dict[str, str]] = {}
    with ThreadPoolExecutor(2) as pool:
        for name, distribution in sorted(needed_distributions(_ROOTS).items()):
            if progress is not None:
                progress(name)
            files = _package_files(package) if name == _ROOT else _files(distribution)
            digest = hashlib.sha256()
            for path, content in zip(
                (row[0] for row in files), pool.map(_digest, (row[1] for row in files)), strict=True
            ):
                digest.update(f"{content}  {path}\n".encode())
            distributions[name] = {"version": distribution.version, "digest": "sha256:" + digest.hexdigest()}
    python = f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"
    body = {"version": VERSION, "python": python, "distributions": distributions}
    return Measurement(sha256_id(canonical(body)), python, distributions)


class RuntimeStamp:
    """Tells cheaply when measuring again is due, and proves nothing.

    What the installed distributions consist of is read once, and again when a folder or a note of an installer changed:
    reading it takes most of a second.
    """

    def __init__(self) -> None:
        self._listed: list[tuple[str, Path]] = []
        self._notes: list[Path] = []
        self._known: object = None

    def now(self) -> str:
        """A fingerprint of the files' names, sizes and times.

        Raises:
            RuntimeIncomplete: a distribution that the enclave needs is not installed.
        """
        if self._known is None or self._known != self._seen():
            self._list()
        package = Path(__file__).resolve().parent.parent
        digest = hashlib.sha256()
        for path, file in (*_package_files(package), *self._listed):
            digest.update(f"{path}\0{_facts(file)}\n".encode())
        return digest.hexdigest()

    def _list(self) -> None:
        distributions = needed_distributions(_ROOTS)
        self._notes = [
            Path(str(distribution.locate_file(entry)))
            for distribution in distributions.values()
            for entry in distribution.files or ()
            if entry.parent.name.endswith(".dist-info") and entry.name in {"METADATA", "RECORD"}
        ]
        self._listed = [row for name, each in sorted(distributions.items()) if name != _ROOT for row in _files(each)]
        self._known = self._seen()

    def _seen(self) -> object:
        return [(str(place), _facts(place)) for place in (*map(Path, sys.path), *self._notes)]


def runtime_stamp() -> str:
    """The stamp of the runtime as it is now; see `RuntimeStamp`."""
    return RuntimeStamp().now()


def _facts(path: Path) -> str:
    try:
        facts = path.stat()
    except OSError:
        return "missing"
    return f"{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ino}"


def runtime_files() -> list[Path]:
    """What the runtime is made of: its files, and the folders that they are in."""
    package = Path(__file__).resolve().parent.parent
    found: set[Path] = set()
    for name, distribution in needed_distributions(_ROOTS).items():
        for _, file in _package_files(package) if name == _ROOT else _files(distribution):
            found.update((file, file.parent))
    return sorted(found)


def needed_distributions(roots: Iterable[tuple[str, str]]) -> dict[str, metadata.Distribution]:
    """Installed distributions and all that they require.

    Args:
        roots: name and extra of each to begin with; an empty extra is the distribution alone.

    Raises:
        RuntimeIncomplete: one of them is not installed.
    """
    found: dict[str, metadata.Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = list(roots)
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            distribution = found.setdefault(name, metadata.distribution(name))
        except metadata.PackageNotFoundError as error:
            raise RuntimeIncomplete(f"The distribution '{name}' is not installed.") from error
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                child = canonicalize_name(requirement.name)
                todo.extend([(child, ""), *((child, wanted) for wanted in requirement.extras)])
    return found


def _package_files(package: Path) -> list[tuple[str, Path]]:
    # Not by RECORD: an editable install lists no modules there.
    paths = (path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted((f"paddock/{path.relative_to(package).as_posix()}", path) for path in paths)


def _files(distribution: metadata.Distribution) -> list[tuple[str, Path]]:
    return sorted(_measured(distribution))


def _measured(distribution: metadata.Distribution) -> Iterator[tuple[str, Path]]:
    for entry in distribution.files or ():
        outside = ".." in entry.parts or entry.is_absolute()
        own_note = entry.parent.name.endswith(".dist-info") and entry.name in _INSTALLER_FILES
        if outside or own_note or "__pycache__" in entry.parts or entry.suffix == ".pyc":
            continue
        yield entry.as_posix(), Path(str(distribution.locate_file(entry)))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except FileNotFoundError:
        return "missing"
    return digest.hexdigest()
