"""Building an Occlum instance of the runtime that is installed here.

Source: Occlum 0.31, tools/occlum (cmd_init, cmd_build, cmd_print_info), tools/copy_bom/README.md.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import ClassVar

from paddock.contract.draft import DEFAULT_MEMORY_BYTES, DEFAULT_PROCESSES, DEFAULT_SCRATCH_BYTES
from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.evidence.claims import registers_digest
from paddock.executors.executor import Built
from paddock.executors.image import ENCLAVE, ROOT, Image, list_runtime, write_image
from paddock.executors.image.listing import INTERPRETER, LIBRARIES
from paddock.executors.occlum_files import OcclumImage
from paddock.executors.settings import check_settings
from paddock.executors.texts import count, size
from paddock.executors.tools import ASK_SECONDS, BUILD_SECONDS, find_tool, run_tool, unfinished

INSTANCE, RUNTIME, ENTRY = "instance", "runtime", "entry"
BOM, CONFIGURATION, NOTE = "bom.yaml", "Occlum.json", "built.json"
USUAL = Path("/opt/occlum/build/bin")
_START = "start.py"
_MRENCLAVE = re.compile(r"[0-9a-f]{64}")
WriteRuntime = Callable[[Path, Callable[[str], None]], Image]


def write_runtime(folder: Path, said: Callable[[str], None]) -> Image:
    """Write the installed runtime into a folder; Occlum brings the C library."""
    return write_image(list_runtime(c_library=False), folder, said)


class OcclumBuilder:
    """See `Buildable`.

    Args:
        write: writes the runtime; tests put a small one in.
    """

    about: ClassVar[str] = "An Occlum instance: image, Occlum.json, signed enclave."
    settings: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "sign-key": "RSA key of 3072 bits and exponent 3 that signs the enclave (PEM)",
            "memory": "the largest limits.memory_bytes of a contract (default: 4GiB)",
            "scratch": "the largest limits.scratch_bytes, in memory (default: 1GiB)",
            "threads": "the largest limits.processes (default: 256)",
            "occlum": f"the occlum command (default: along PATH, {USUAL})",
            "copy-bom": f"the copy_bom command (default: along PATH, {USUAL})",
        }
    )

    def __init__(self, write: WriteRuntime = write_runtime) -> None:
        self._write = write

    def describe(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        """See `Buildable.describe`; paths are those of a folder `/srv/paddock-image`."""
        check_settings(settings, self.settings)
        image = _image(settings)
        folder = PurePosixPath("/srv/paddock-image")
        return {
            CONFIGURATION: image.configuration(),
            BOM: image.bom(folder / RUNTIME / ROOT, folder / ENTRY),
            f"{ENTRY}/enclave": image.entry(),
        }

    def build(self, folder: Path, settings: Mapping[str, str], said: Callable[[str], None]) -> Built:
        """See `Buildable.build`."""
        check_settings(settings, self.settings, required=("sign-key",))
        image = _image(settings)
        tools = _Tools.of(settings)
        # What stands in the bom file is refused before minutes are spent on the runtime.
        bom = image.bom(PurePosixPath(folder / RUNTIME / ROOT), PurePosixPath(folder / ENTRY))
        with unfinished(folder):
            written = self._write(folder / RUNTIME, said)
            if (written.interpreter, written.libraries, written.start) != (
                image.interpreter,
                image.libraries,
                image.start,
            ):
                raise RuntimeError("the runtime's parts lie elsewhere than the description says")
            _write_entry(folder / ENTRY, image)
            (folder / BOM).write_text(bom, encoding="ascii")
            mrenclave = _build_instance(folder, image, tools, said)
            note = {
                "mrenclave": mrenclave,
                "memory_bytes": image.memory_bytes,
                "scratch_bytes": image.scratch_bytes,
                "threads": image.threads,
            }
            (folder / NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="ascii")
        return Built(
            (f"{INSTANCE}/{CONFIGURATION}", BOM, f"{ENTRY}/enclave", NOTE),
            registers_digest("sgx", {"mrenclave": mrenclave}),
            notes=(
                f"MRENCLAVE {mrenclave}.",
                "Keepers must name the signer that they trust, too ([sgx] signers): docs/executors/occlum.md says why.",
            ),
        )


def find_occlum(named: str, tool: str = "occlum") -> str:
    """Where a tool of Occlum is.

    Raises:
        ExecutorFailed: it is not there.
    """
    usual = USUAL / tool
    return find_tool(named, str(usual) if usual.exists() else tool, "Occlum (docs/executors/occlum.md)")


def print_mrenclave(occlum: str, instance: Path) -> str:
    """What `occlum print mrenclave` says of a built instance.

    Raises:
        ExecutorFailed: it says something else than one.
    """
    text = run_tool([occlum, "print", "mrenclave"], folder=instance, seconds=ASK_SECONDS).strip()
    if not _MRENCLAVE.fullmatch(text):
        raise ExecutorFailed("'occlum print mrenclave' told none: it needs sgx_sign of the SGX SDK along PATH.")
    return text


def _image(settings: Mapping[str, str]) -> OcclumImage:
    return OcclumImage(
        interpreter=INTERPRETER,
        libraries=LIBRARIES,
        start=_START,
        module=ENCLAVE,
        memory_bytes=size("memory", settings.get("memory", f"{DEFAULT_MEMORY_BYTES >> 20}MiB")),
        scratch_bytes=size("scratch", settings.get("scratch", f"{DEFAULT_SCRATCH_BYTES >> 20}MiB")),
        threads=count("threads", settings.get("threads", str(DEFAULT_PROCESSES)), 16, 4096),
    )


@dataclass(frozen=True)
class _Tools:
    occlum: str
    copy_bom: str
    key: Path

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> _Tools:
        key = Path(settings["sign-key"]).resolve()
        if not key.is_file():
            raise ExecutorOptionInvalid("sign-key: there is no such file.")
        copy_bom = find_occlum(settings.get("copy-bom", ""), "copy_bom")
        return cls(find_occlum(settings.get("occlum", "")), copy_bom, key)


def _build_instance(folder: Path, image: OcclumImage, tools: _Tools, said: Callable[[str], None]) -> str:
    instance = folder / INSTANCE
    instance.mkdir()
    said("making an instance")
    run_tool([tools.occlum, "init"], folder=instance, seconds=ASK_SECONDS)
    shutil.rmtree(instance / "image")  # what Occlum puts there for trying it out
    said("copying the runtime")
    copying = [tools.copy_bom, "--file", str(folder / BOM), "--root", "image"]
    run_tool(copying, folder=instance, seconds=BUILD_SECONDS)
    (instance / CONFIGURATION).write_text(image.configuration(), encoding="ascii")
    said("building and signing the enclave")
    # A key of one's own: the one that Occlum takes otherwise is public.
    building = [tools.occlum, "build", "--sign-key", str(tools.key), "--force"]
    run_tool(building, folder=instance, seconds=BUILD_SECONDS)
    return print_mrenclave(tools.occlum, instance)


def _write_entry(folder: Path, image: OcclumImage) -> None:
    folder.mkdir()
    program = folder / "enclave"
    program.write_text(image.entry(), encoding="ascii")
    program.chmod(0o755)
