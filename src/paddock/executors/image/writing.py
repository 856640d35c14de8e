"""Writing a runtime image into a folder: modules compiled and packed, everything else copied, all of it hashed."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from paddock.errors import ImageFailed
from paddock.executors.image.image import Image, ImageFile
from paddock.executors.image.layout import (
    FACTS,
    INDEX,
    INTERPRETER,
    LIBRARIES,
    PACK,
    ROOT,
    STANDARD,
    STANDARD_ZIP,
    START,
)
from paddock.executors.image.listing import Listing

_HERE = Path(__file__).parent
_BLOCK_BYTES = 1 << 20
_COMPILE_SECONDS = 600


def write_image(listing: Listing, folder: Path, said: Callable[[str], None]) -> Image:
    """Write an image: its files below `root`, its facts beside them.

    Args:
        listing: what it is made of.
        folder: new or empty.
        said: called with what is being done.

    Raises:
        ImageFailed: the folder holds something, or the image could not be written.
    """
    root = folder / ROOT
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ImageFailed(f"{folder} is not empty.")
        root.mkdir()
        said(f"compiling {len(listing.modules) + len(listing.standard)} modules")
        _pack_modules(listing.modules, root)
        _pack_standard_library(listing.standard, root)
        said(f"copying {len(listing.files)} files")
        for place, source in sorted({**listing.files, START: _HERE / START}.items()):
            _copy(source, root / place)
        said("hashing")
        image = Image(
            version="paddock/image/v1",
            python=f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}",
            interpreter=INTERPRETER,
            start=START,
            libraries=LIBRARIES,
            entries=list(listing.entries),
            distributions=dict(listing.distributions),
            files=hash_files(root),
        )
        (folder / FACTS).write_bytes(image.to_json())
    except OSError as error:
        raise ImageFailed(f"{error.strerror or type(error).__name__}.") from error
    return image


def hash_files(root: Path) -> dict[str, ImageFile]:
    """Every file below a folder, by its place in it, with size and SHA-256."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    with ThreadPoolExecutor(2) as pool:
        return dict(zip((path.relative_to(root).as_posix() for path in paths), pool.map(_hashed, paths), strict=True))


def _pack_modules(modules: Mapping[str, Path], root: Path) -> None:
    (root / INDEX).write_text(json.dumps(compile_modules(modules, root / PACK), sort_keys=True), encoding="utf-8")


def _pack_standard_library(modules: Mapping[str, Path], root: Path) -> None:
    # In the place and form that the interpreter itself looks for; it needs these before anything of ours can run.
    (root / STANDARD).mkdir(parents=True)
    pack = root / "standard.pack"
    index = compile_modules(modules, pack)
    with zipfile.ZipFile(root / STANDARD_ZIP, "x", zipfile.ZIP_STORED) as archive, pack.open("rb") as source:
        for place, (_offset, size) in index.items():
            archive.writestr(zipfile.ZipInfo(place), source.read(size))
    pack.unlink()


def compile_modules(modules: Mapping[str, Path], output: Path) -> dict[str, list[int]]:
    """Compile modules into one file: place of the byte code to offset and size. What no interpreter takes is left out.

    Raises:
        ImageFailed: they could not be compiled.
    """
    lines = "".join(json.dumps([place, str(source)]) + "\n" for place, source in sorted(modules.items()))
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-s", "-S", str(_HERE / "compiling.py"), str(output)],
            input=lines,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=_COMPILE_SECONDS,
            check=True,
        )
        index: dict[str, list[int]] = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise ImageFailed("The modules could not be compiled.") from error
    return index


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def _hashed(path: Path) -> ImageFile:
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            size += len(block)
    return ImageFile(size=size, sha256=digest.hexdigest())
