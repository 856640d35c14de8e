"""A contract's run as a Kubernetes Job whose Pod is a confidential machine: written, not placed.

The Pod's class of runtime starts a machine with encrypted memory for this Pod alone (Kata Containers). The Job holds
nothing secret and nothing of the launch: whoever places it writes the launch line to the container's standard input
(`kubectl attach -i`), so that it stands in no argument and no variable. Kubernetes and its nodes are trusted for
availability only; the evidence says what runs.

Source: Kubernetes API reference 1.34, Job v1 batch, Pod v1 core; Pod Security Standards, "restricted"; Kata Containers,
kata-deploy's runtime classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from paddock.contract.levels import Tee, check_evidence_allowed
from paddock.contract.signing import Proposal, open_proposal
from paddock.contract.terms import MAX_TERMS_BYTES, LimitTerms
from paddock.crypto.canonical import parse
from paddock.crypto.dsse import Envelope
from paddock.errors import EncodingRefused, ExecutorOptionInvalid
from paddock.executors.command import environment
from paddock.executors.executor import Built
from paddock.executors.settings import check_settings
from paddock.executors.texts import count, plain_path, plain_word

RUNTIME_CLASSES = (
    "kata-qemu-tdx",
    "kata-qemu-tdx-runtime-rs",
    "kata-qemu-snp",
    "kata-qemu-snp-runtime-rs",
    "kata-qemu-cca",
    "kata-qemu-nvidia-gpu-tdx",
    "kata-qemu-nvidia-gpu-snp",
)
"""Classes whose machines have encrypted memory. Others are refused: `kata-qemu` and `kata-qemu-coco-dev` have none."""
RUNTIME_BYTES = 1 << 30
"""What interpreter, PaddlePaddle and supervisor take beside the contract's memory."""
USER = 65532  # nobody's number in the image: it owns no file of it
FILE = "job.json"
_MOST_CPUS = 256
_GRACE_SECONDS = 120
_KEEP_SECONDS = 3600
# registry[:port]/path@sha256:digest, as the distribution specification writes references; a tag alone names no content.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?(?::[0-9]{1,5})?"
_IMAGE = re.compile(rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*@sha256:[0-9a-f]{{64}}")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class KubernetesDescription:
    """See `Buildable`: one file, a Job in JSON, which is YAML too."""

    about: ClassVar[str] = "A Kubernetes Job in a confidential machine, for one contract (written, not placed)."
    settings: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            "contract": "file of the contract, as a home folder holds it below contracts/",
            "image": "container image by digest, e.g. registry.example/paddock@sha256:…",
            "runtime-class": f"one of {', '.join(RUNTIME_CLASSES)}",
            "namespace": "the namespace (default: the one that kubectl is set to)",
            "interpreter": "Python in the image (default: /usr/local/bin/python3)",
            "cpus": "processors (default: 2)",
        }
    )

    def describe(self, settings: Mapping[str, str]) -> Mapping[str, str]:
        """See `Buildable.describe`."""
        check_settings(settings, self.settings, required=("contract", "image", "runtime-class"))
        manifest = job_manifest(
            _read_contract(Path(settings["contract"])),
            image=settings["image"],
            runtime_class=settings["runtime-class"],
            namespace=settings.get("namespace"),
            interpreter=settings.get("interpreter", "/usr/local/bin/python3"),
            cpus=count("cpus", settings.get("cpus", "2"), 1, _MOST_CPUS),
        )
        return {FILE: json.dumps(manifest, indent=2) + "\n"}

    def build(self, folder: Path, settings: Mapping[str, str], said: Callable[[str], None]) -> Built:
        """See `Buildable.build`: the file alone; images are built and signed by tools of their own."""
        text = self.describe(settings)[FILE]
        said("writing the Job")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(text, encoding="ascii")
        return Built(
            (FILE,),
            notes=(
                "Its measurement is that of the node's Kata machine and image: verify evidence of it first (docs/executors/kubernetes.md).",
                "kubectl create -f job.json, then write the launch line: kubectl attach -i job/NAME.",
            ),
        )


def job_manifest(
    contract: Proposal, *, image: str, runtime_class: str, namespace: str | None, interpreter: str, cpus: int
) -> dict[str, Any]:
    """The Job for one run of a contract, as JSON values.

    Args:
        contract: whose limits the Pod gets; nothing else of it but its id gets in.
        image: by digest.
        runtime_class: one of `RUNTIME_CLASSES`.
        namespace: of the Job; None leaves it to who places it.
        interpreter: Python in the image.
        cpus: processors of the machine.

    Raises:
        ExecutorOptionInvalid: a value is not of its form, or the class has no encrypted memory.
        LevelRefused: the contract's level takes no evidence of such a machine (L-1).
    """
    check_evidence_allowed(contract.terms.level, Tee.CONFIDENTIAL_VM)
    if not _IMAGE.fullmatch(image) or len(image) > 512:
        raise ExecutorOptionInvalid("image: it is written REGISTRY/NAME@sha256:DIGEST: a tag can become another image.")
    if runtime_class not in RUNTIME_CLASSES:
        raise ExecutorOptionInvalid(f"runtime-class: it must be one of {', '.join(RUNTIME_CLASSES)}.")
    if namespace is not None and not _NAMESPACE.fullmatch(namespace):
        raise ExecutorOptionInvalid("namespace: it is no name of a namespace.")
    limits = contract.terms.limits
    place = {} if namespace is None else {"namespace": namespace}
    labels = {"app.kubernetes.io/name": "paddock", "app.kubernetes.io/component": "enclave"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "generateName": f"paddock-{contract.id.removeprefix('sha256:')[:16]}-",
            **place,
            "labels": labels,
            "annotations": {"paddock/contract": contract.id},
        },
        "spec": {
            "backoffLimit": 0,  # a failed run is resumed by a party, never by the cluster
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": limits.run_seconds + _GRACE_SECONDS,
            "ttlSecondsAfterFinished": _KEEP_SECONDS,
            "template": {
                "metadata": {"labels": labels},
                "spec": _pod(limits, image, runtime_class, interpreter, cpus),
            },
        },
    }


def _pod(limits: LimitTerms, image: str, runtime_class: str, interpreter: str, cpus: int) -> dict[str, Any]:
    # What is written to a volume in memory counts as the Pod's memory.
    room = {"cpu": str(cpus), "memory": str(limits.memory_bytes + limits.scratch_bytes + RUNTIME_BYTES)}
    return {
        "runtimeClassName": runtime_class,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # else addresses of the cluster's services stand in the environment
        "hostNetwork": False,
        "hostPID": False,
        "hostIPC": False,
        "shareProcessNamespace": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "enclave",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "command": [plain_path("interpreter", interpreter)],
                "args": ["-I", "-m", "paddock.enclave"],
                "workingDir": "/",
                "env": [
                    {"name": name, "value": _plain_value(name, value)}
                    for name, value in sorted(environment(threads=1).items())
                ],
                "stdin": True,  # the launch line, once; then events on stdout
                "stdinOnce": True,
                "tty": False,
                "terminationMessagePolicy": "File",  # never the end of what it said
                "resources": {"requests": dict(room), "limits": dict(room)},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "privileged": False,
                    "readOnlyRootFilesystem": True,
                    "runAsNonRoot": True,
                    "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "volumeMounts": [
                    {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 - in the Pod, and its own
                    {"name": "staging", "mountPath": "/dev/shm"},  # noqa: S108 - as above; else it is of 64 MiB
                ],
            }
        ],
        "volumes": [
            {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": str(max(limits.scratch_bytes, 1 << 20))}},
            {"name": "staging", "emptyDir": {"medium": "Memory", "sizeLimit": str(limits.memory_bytes)}},
        ],
    }


def _plain_value(name: str, value: str) -> str:
    """A variable's value: Kubernetes expands `$(NAME)`, so that none may stand in it."""
    return ":".join(plain_word(name, part) for part in value.split(":"))


def _read_contract(file: Path) -> Proposal:
    try:
        with file.open("rb") as source:
            data = source.read(4 * MAX_TERMS_BYTES)
        return open_proposal(Envelope.from_dict(parse(data)))
    except OSError as error:
        raise ExecutorOptionInvalid(f"contract: {error.strerror}.") from error
    except EncodingRefused as error:
        raise ExecutorOptionInvalid("contract: the file is no signed contract.") from error
