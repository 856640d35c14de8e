"""What this machine can do: devices, tools, limits; and what to install for more."""

from __future__ import annotations

import importlib.util
import platform
import resource
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType

from paddock.attest import Attester, usual_attesters
from paddock.errors import WallsUnavailable
from paddock.walls import check_walls

MINIMUM_PYTHON = (3, 11)
_BESIDE = "nvidia"
_NOT_CONFIDENTIAL = frozenset({_BESIDE, "host", "tpm"})


@dataclass(frozen=True)
class Finding:
    """One fact about the machine. `ok` is None where missing it is no fault."""

    area: str
    name: str
    ok: bool | None
    found: str
    advice: str


_DEVICES = (
    ("dev/sgx_enclave", "Intel SGX", "Level 5 through Gramine or Occlum; needs an SGX machine and Linux 5.11."),
    ("dev/tdx_guest", "Intel TDX guest", "Present inside a TDX guest only."),
    ("dev/tpmrm0", "TPM 2.0", "Level 3 needs a TPM 2.0 (or swtpm for tests)."),
    ("dev/kvm", "KVM", "Launching confidential VMs needs KVM."),
    ("dev/fuse", "FUSE", "Mounting sealed volumes needs FUSE."),
)
ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "gramine": 'Inside a Gramine SGX enclave whose manifest says sgx.remote_attestation = "dcap".',
        "occlum": "Inside an Occlum SGX enclave that was built with DCAP.",
        "nsm": "Inside an AWS Nitro enclave.",
        "tsm": "Inside a confidential VM (TDX, SEV-SNP, CCA) with Linux 6.7 or newer and configfs mounted.",
        "sev-guest": "Inside an SEV-SNP guest with Linux 5.19 or newer; tsm is to be preferred.",
        "host": "With its attester running: paddock host serve. Level 2; level 3 with a TPM beside it: +host=tpm.",
        "tpm": "With a TPM 2.0, tpm2-tools, and an attestation key (docs/how-to/attest-with-a-tpm.md).",
        "nvidia": "With NVIDIA's driver and a GPU in confidential-computing mode; stands beside another attester.",
    }
)
"""Where each attester applies."""
_TOOLS = (
    ("gramine-sgx", "Gramine: see its project's installation page."),
    ("occlum", "Occlum: see its project's installation page."),
    ("scone", "SCONE: see its vendor's installation page."),
    ("bwrap", "apt-get install bubblewrap"),
    ("qemu-system-x86_64", "apt-get install qemu-system-x86"),
    ("swtpm", "apt-get install swtpm"),
    ("fusermount3", "apt-get install fuse3"),
    ("nvidia-smi", "The GPU vendor's driver."),
)
_PACKAGES = (
    ("cryptography", True, "pip install paddock"),
    ("paddlepaddle", True, "pip install 'paddock[paddle]' to run enclaves or export programs on this machine."),
    ("safetensors", True, "pip install 'paddock[paddle]'"),
    ("scikit-learn", False, "pip install 'paddock[demo]' for the demo."),
    ("matplotlib", False, "pip install 'paddock[demo]' for the demo."),
)


def examine(root: Path = Path("/"), attesters: Mapping[str, Attester] | None = None) -> list[Finding]:
    """Look at the machine. No device is asked for evidence.

    Args:
        root: the file system's root; tests give a tree of their own.
        attesters: by the address that names each; those in their usual places unless given.
    """
    known = usual_attesters() if attesters is None else attesters
    return [*_python(), *_packages(), *_devices(root), *_attesters(known), *_tools(), *_walls(), *_limits(root)]


def _python() -> list[Finding]:
    version = platform.python_version()
    ok = tuple(int(part) for part in version.split(".")[:2]) >= MINIMUM_PYTHON
    return [Finding("python", "Python", ok, version, "" if ok else "Python 3.11 or newer is needed.")]


def _packages() -> list[Finding]:
    found = []
    for name, needed, advice in _PACKAGES:
        try:
            found.append(Finding("packages", name, True, metadata.version(name), ""))
        except metadata.PackageNotFoundError:
            found.append(Finding("packages", name, False if needed else None, "missing", advice))
    hpke = importlib.util.find_spec("cryptography.hazmat.primitives.hpke") is not None
    advice = "" if hpke else "pip install -U cryptography"
    return [*found, Finding("packages", "HPKE with X-Wing", hpke, "yes" if hpke else "missing", advice)]


def _devices(root: Path) -> list[Finding]:
    rows = []
    for path, name, advice in _DEVICES:
        there = (root / path).exists()
        rows.append(
            Finding("devices", name, True if there else None, f"/{path}" if there else "no", "" if there else advice)
        )
    return rows


def _attesters(known: Mapping[str, Attester]) -> list[Finding]:
    rows = []
    for address, attester in known.items():
        there = attester.available()
        found = f"--attester {address}" if address != _BESIDE else f"beside another: +gpu-0={address}"
        advice = ADVICE.get(address, "")
        rows.append(Finding("attesters", address, True if there else None, *((found, "") if there else ("no", advice))))
    if not any(row.ok for row in rows if row.name != _BESIDE):
        advice = "Runs here can only be SIMULATED: no hardware protects them from the machine's operator."
        rows.append(Finding("attesters", "trusted execution environment", None, "none", advice))
    elif not any(row.ok for row in rows if row.name not in _NOT_CONFIDENTIAL):
        advice = "What is there proves what was installed and booted, and keeps nothing from the machine's operator: level 3 at most."
        rows.append(Finding("attesters", "trusted execution environment", None, "none", advice))
    return rows


def _tools() -> list[Finding]:
    rows = []
    for name, advice in _TOOLS:
        path = shutil.which(name)
        rows.append(Finding("tools", name, True if path else None, path or "no", "" if path else advice))
    return rows


def _walls() -> list[Finding]:
    name = "walls around jobs"
    try:
        report = check_walls()
    except WallsUnavailable as error:
        return [Finding("walls", name, None, "no", f"{error.detail} Needed for jobs at levels 2 to 4.")]
    found = f"bubblewrap {report.bubblewrap}, libseccomp {report.seccomp}, Landlock {report.landlock}"
    together = report.memory == "control group"
    advice = (
        ""
        if together
        else "Jobs' memory is limited for each process: let the service make control groups "
        "(docs/executors/sandbox.md)."
    )
    return [
        Finding("walls", name, True, found, ""),
        Finding("walls", "ceiling of memory", True if together else None, report.memory, advice),
    ]


def _limits(root: Path) -> list[Finding]:
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    unlimited = locked == resource.RLIM_INFINITY
    advice = "" if unlimited else "Raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=infinity) to keep enclaves out of swap."
    shown = "unlimited" if unlimited else f"{locked >> 10} KiB"
    rows = [Finding("limits", "lockable memory", True if unlimited else None, shown, advice)]
    swaps = root / "proc/swaps"
    lines = swaps.read_text(encoding="utf-8").splitlines()[1:] if swaps.is_file() else []
    advice = "Turn swap off or encrypt it: memory of a run could reach the disk." if lines else ""
    rows.append(Finding("limits", "swap", None if lines else True, "on" if lines else "off", advice))
    free = shutil.disk_usage(root).free
    rows.append(
        Finding("limits", "free disk", free > 1 << 30, f"{free >> 30} GiB", "" if free > 1 << 30 else "Free some disk.")
    )
    return rows
