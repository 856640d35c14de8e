"""The settings of building and starting an enclave, read strictly into what the rest works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paddock.errors import ExecutorOptionInvalid
from paddock.executors.settings import check_settings
from paddock.executors.texts import count

TOOL, DEVICE = "nitro-cli", "/dev/nitro_enclaves"
_CORES, _MEMORY = 2, 8192
BUILD: Mapping[str, str] = {
    "kernel": "a Linux kernel for x86_64 (bzImage), 5.13 or later, with Landlock and the Nitro security module",
    "modules": "the folder of its modules; without a word all that is needed must be built in",
    "config": "its configuration (.config), which is then held against what is needed",
    "compression": "of the disk: lz4, zstd or none; zstd without a word",
    "cores": f"that allocator.yaml sets aside for enclaves; {_CORES} without a word",
    "memory": f"likewise, in MiB; {_MEMORY} without a word",
}
START: Mapping[str, str] = {
    "image": "folder that 'paddock executor build nitro' made",
    "cores": f"of each enclave; {_CORES} without a word",
    "memory": f"of each enclave, in MiB: at least four times the image; {_MEMORY} without a word",
    "nitro-cli": f"the nitro-cli command; along PATH without a word ({TOOL})",
    "device": f"the device of enclaves; {DEVICE} without a word",
}
_COMPRESSIONS = ("lz4", "zstd", "none")


@dataclass(frozen=True)
class Size:
    """How large enclaves are.

    Args:
        cores: of the processor.
        memory_mib: in MiB.
    """

    cores: int
    memory_mib: int


@dataclass(frozen=True)
class Recipe:
    """What an image is built from.

    Args:
        kernel: a bzImage.
        modules: the folder with its modules, if it has some.
        configuration: its `.config`, if it is at hand.
        compression: of the disk.
        size: of enclaves, for the host's allocator.
    """

    kernel: Path
    modules: Path | None
    configuration: Path | None
    compression: str
    size: Size


@dataclass(frozen=True)
class StartSettings:
    """How enclaves are started.

    Args:
        image: the folder that was built.
        size: of each.
        tool: `nitro-cli`, as the operator names it; empty: along PATH.
        device: of enclaves.
    """

    image: Path
    size: Size
    tool: str
    device: Path


def read_recipe(settings: Mapping[str, str]) -> Recipe:
    """What is to be built.

    Raises:
        ExecutorOptionInvalid: a setting is unknown, missing, or not understood.
    """
    check_settings(settings, BUILD, required=("kernel",))
    compression = settings.get("compression", "zstd")
    if compression not in _COMPRESSIONS:
        raise ExecutorOptionInvalid(f"'compression' is one of: {', '.join(_COMPRESSIONS)}.")
    modules, configuration = (_path(settings[name]) if name in settings else None for name in ("modules", "config"))
    return Recipe(_path(settings["kernel"]), modules, configuration, compression, read_size(settings))


def read_start(settings: Mapping[str, str]) -> StartSettings:
    """How enclaves are to be started.

    Raises:
        ExecutorOptionInvalid: a setting is unknown, missing, or not understood.
    """
    check_settings(settings, START, required=("image",))
    device = _path(settings.get("device", DEVICE))
    return StartSettings(_path(settings["image"]), read_size(settings), settings.get("nitro-cli", ""), device)


def read_size(settings: Mapping[str, str]) -> Size:
    """How large enclaves are to be.

    Raises:
        ExecutorOptionInvalid: a number is none, or out of bounds.
    """
    return Size(
        count("cores", settings.get("cores", str(_CORES)), 1, 256),
        count("memory", settings.get("memory", str(_MEMORY)), 512, 1 << 22),
    )


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()
