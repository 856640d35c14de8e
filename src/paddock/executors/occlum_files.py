"""What Occlum reads: `Occlum.json`, the bom file of its image, and the program that the host may start.

Both files are JSON, which is YAML too. All of it is measured: Occlum's build puts a digest of its configuration into the
enclave, and the configuration holds the one of the image.

Three things here keep a host from choosing what runs under this measurement:

- **The entry is a script of ours, not the interpreter.** Arguments are the host's: with Python as an entry point it could
  say `-c`. Occlum reads the whole first line of a script as the interpreter's path, so that no option can stand there;
  variables of the environment say them instead, and none of those is the host's.
- **Nothing of the host is mounted**, and no variable of it is let in.
- **The writable layer begins empty** (`temporary`). Otherwise Occlum opens what lies on the host's disk, sealed by a key that
  every enclave of the same signer has.

Source: Occlum 0.31, docs/readthedocs (occlum_configuration, copy_bom, fs_overview, binaries_compatibility), and its sources
gen_internal_conf, copy_bom, src/libos/src/{config,entry}.rs, process/do_spawn/exec_loader.rs, fs/rootfs.rs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from paddock.executors.room import OWN_THREADS
from paddock.executors.texts import plain_environment, plain_path, plain_word

RUNTIME = PurePosixPath("/paddock/runtime")
ENTRY = PurePosixPath("/paddock/entry")
PROGRAM = ENTRY / "enclave"
LIBC = PurePosixPath("/opt/occlum/glibc/lib")
"""Occlum's own C library: its system calls are calls into the enclave's kernel."""
RUNTIME_BYTES = 1 << 30
"""What interpreter and PaddlePaddle take beside the contract's memory."""
KERNEL_BYTES = 512 << 20
"""Occlum's own heap, without what files in memory (`/tmp`, `/dev/shm`) take of it."""
_MIB = 1 << 20
_STACK, _KERNEL_STACK, _BRK = 8 * _MIB, 1 * _MIB, 64 * _MIB
_NO_ID = {"high": "0x0", "low": "0x0"}
_FOLDERS = ("bin", "dev", "etc", "lib", "lib64", "opt", "proc", "root", "sys", "tmp")


@dataclass(frozen=True)
class OcclumImage:
    """An enclave: what is in it, and how large it is.

    Args:
        interpreter: the runtime's Python, relative to the runtime.
        libraries: its folder of shared libraries, likewise.
        start: the program that begins a module in it, likewise.
        module: the module that is begun.
        memory_bytes: for a contract's `limits.memory_bytes`, at most.
        scratch_bytes: of files in memory.
        threads: of a job, processes and threads together.
    """

    interpreter: str
    libraries: str
    start: str
    module: str
    memory_bytes: int
    scratch_bytes: int
    threads: int

    def configuration(self) -> str:
        """`Occlum.json`."""
        return _json(
            {
                "resource_limits": {
                    "user_space_size": _megabytes(self.memory_bytes + RUNTIME_BYTES),
                    "kernel_space_heap_size": _megabytes(self.scratch_bytes + KERNEL_BYTES),
                    "kernel_space_stack_size": _megabytes(_KERNEL_STACK),
                    "max_num_of_threads": self.threads + OWN_THREADS,
                },
                "process": {
                    "default_stack_size": _megabytes(_STACK),
                    "default_heap_size": _megabytes(_BRK),
                    "default_mmap_size": _megabytes(_BRK),  # read and not used by Occlum
                },
                "entry_points": [str(ENTRY)],
                "env": {"default": [f"{name}={value}" for name, value in self.variables().items()], "untrusted": []},
                "metadata": {
                    "product_id": 0,
                    "version_number": 0,
                    "debuggable": False,
                    "disable_log": True,
                    "enable_kss": False,  # with it whoever starts an enclave gives it an id that is not measured
                    "family_id": dict(_NO_ID),
                    "ext_prod_id": dict(_NO_ID),
                },
                "feature": {
                    "amx": 0,
                    "pkru": 0,
                    "io_uring": 0,  # its rings are memory that the host shares
                    "enable_edmm": False,
                    "enable_posix_shm": False,
                },
                "mount": [
                    {
                        "target": "/",
                        "type": "unionfs",
                        "options": {
                            "layers": [
                                {
                                    "target": "/",
                                    "type": "sefs",
                                    "source": "./build/mount/__ROOT",
                                    "options": {"MAC": ""},  # Occlum's build writes it
                                },
                                {
                                    "target": "/",
                                    "type": "sefs",
                                    "source": "./run/mount/__ROOT",
                                    "options": {"temporary": True},
                                },
                            ]
                        },
                    },
                    {"target": "/tmp", "type": "ramfs"},  # noqa: S108 - memory of the enclave
                ],
            }
        )

    def bom(self, runtime: PurePosixPath, entry: PurePosixPath) -> str:
        """The bom file: what `copy_bom` copies into the image, and beside it Occlum's C library.

        Args:
            runtime: the folder on this machine that holds the runtime.
            entry: the one that holds the entry's program.
        """
        source, program = plain_path("folder", runtime), PurePosixPath(self.interpreter)
        # Of a file that is named Occlum finds all libraries or fails; of those in a folder it tells what is missing.
        named = {"from": str(PurePosixPath(source, program.parent)), "files": [program.name]}
        targets = [
            {"target": "/", "mkdirs": list(_FOLDERS)},
            {"target": str(RUNTIME), "copy": [{"from": source}]},
            {"target": str(RUNTIME / program.parent), "copy": [named]},
            {"target": str(ENTRY), "copy": [{"from": plain_path("folder", entry)}]},
        ]
        return _json({"targets": targets})

    def variables(self) -> Mapping[str, str]:
        """All of the environment inside."""
        return plain_environment(
            {
                "HOME": "/nonexistent",
                "LANG": "C.UTF-8",
                "LC_ALL": "C.UTF-8",
                "LD_LIBRARY_PATH": f"{LIBC}:{RUNTIME / self.libraries}",
                "OMP_NUM_THREADS": "1",
                "PATH": str(RUNTIME / "bin"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONHOME": str(RUNTIME),
                "PYTHONNOUSERSITE": "1",
                "PYTHONSAFEPATH": "1",
                "TZ": "UTC",
            }
        )

    def entry(self) -> str:
        """The script that `occlum run` may start: it takes no argument and runs the enclave."""
        interpreter = plain_path("interpreter", RUNTIME / self.interpreter)
        start = plain_path("start", RUNTIME / self.start)
        return (
            f"#!{interpreter}\n"
            '"""Begins the enclave. Arguments are the host\'s and say nothing."""\n\n'
            "import runpy\n"
            "import sys\n\n"
            f'sys.argv[:] = ["{start}", "{plain_word("module", self.module)}"]\n'
            f'runpy.run_path("{start}", run_name="__main__")\n'
        )


def _megabytes(size: int) -> str:
    return f"{-(-size // _MIB)}MB"  # Occlum's MB are 1024 × 1024


def _json(value: Any) -> str:
    return json.dumps(value, indent=4, ensure_ascii=True) + "\n"
