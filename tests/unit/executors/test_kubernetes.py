"""A contract's run as a Kubernetes Job: golden file, Kubernetes' own schema, and what must not be in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from paddock.contract.signing import Proposal, open_proposal
from paddock.crypto.canonical import canonical
from paddock.errors import ContractRefused, ExecutorOptionInvalid, LevelRefused
from paddock.executors import load_plugin
from paddock.executors.kubernetes import RUNTIME_CLASSES, KubernetesDescription, job_manifest
from paddock.testing.contracts import Participant, proposal
from tests.fixtures.written import assert_golden, assert_schema, refused_by_schema

IMAGE = f"registry.example:5000/confidential/paddock@sha256:{'ab' * 32}"
LIMITS = {
    "memory_bytes": 4 << 30,
    "lease_seconds": 30,
    "attempts": 2,
    "checkpoint_seconds": 60,
    "run_seconds": 3600,
    "processes": 256,
    "scratch_bytes": 1 << 30,
    "output_bytes": 1 << 30,
}
MARKER = "Marker of a title"


def contract(**changes: Any) -> Proposal:
    terms = {"level": "L4", "limits": LIMITS, "title": MARKER, **changes}
    return open_proposal(proposal([Participant.generate("north")], terms))


def manifest(given: Proposal | None = None, **changes: Any) -> dict[str, Any]:
    values = {
        "image": IMAGE,
        "runtime_class": "kata-qemu-snp",
        "namespace": None,
        "interpreter": "/usr/bin/python3",
        "cpus": 2,
    }
    return job_manifest(given or contract(), **{**values, **changes})


def test_kubernetes_reads_the_job() -> None:
    given = contract()
    value = manifest(given, namespace="paddock")
    assert_schema("kubernetes_job_1.34", value)
    text = json.dumps(value, indent=2).replace(given.id, f"sha256:{'0' * 64}").replace(given.id[7:23], "0" * 16)
    assert_golden("kubernetes/job.json", text + "\n")
    for broken in (
        {**value, "more": 1},
        {**value, "spec": {**value["spec"], "template": {"spec": {}}}},
        {**value, "spec": {**value["spec"], "backoffLimit": "0"}},
    ):
        assert refused_by_schema("kubernetes_job_1.34", broken)


def test_the_pod_is_confined_and_confidential() -> None:
    """The profile "restricted" of Kubernetes' Pod Security Standards, and more."""
    pod = manifest()["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["runtimeClassName"] == "kata-qemu-snp"
    assert pod["automountServiceAccountToken"] is False
    assert (pod["hostNetwork"], pod["hostPID"], pod["hostIPC"], pod["shareProcessNamespace"]) == (False,) * 4
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container["securityContext"]
    assert (own["allowPrivilegeEscalation"], own["privileged"], own["readOnlyRootFilesystem"]) == (False, False, True)
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert re.search(r"@sha256:[0-9a-f]{64}$", container["image"])
    assert all(
        set(volume) == {"name", "emptyDir"} and volume["emptyDir"]["medium"] == "Memory" for volume in pod["volumes"]
    )
    assert all(int(volume["emptyDir"]["sizeLimit"]) > 0 for volume in pod["volumes"])
    assert "ports" not in container


def test_resources_follow_the_contract() -> None:
    job = manifest(cpus=3)["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == container["resources"]["requests"]
    assert container["resources"]["limits"] == {"cpu": "3", "memory": str((4 << 30) + (1 << 30) + (1 << 30))}
    assert job["activeDeadlineSeconds"] == 3720
    assert job["backoffLimit"] == 0
    sizes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in job["template"]["spec"]["volumes"]}
    assert sizes == {"scratch": str(1 << 30), "staging": str(4 << 30)}


def test_nothing_of_the_launch_is_in_it() -> None:
    """The launch line comes by standard input: arguments and environment are readable by the cluster's operators."""
    given = contract()
    (container,) = manifest(given)["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["-I", "-m", "paddock.enclave"]
    assert (container["stdin"], container["stdinOnce"], container["tty"]) == (True, True, False)
    assert {each["name"] for each in container["env"]} == {
        *("HOME", "LANG", "LC_ALL", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PATH", "TZ"),
    }
    text = json.dumps(manifest(given))
    assert MARKER not in text
    assert "north" not in text
    assert given.terms.nonce not in text
    assert text.count(given.id) == 1


@pytest.mark.parametrize("level", ["L3", "L5"])
def test_levels_that_take_no_such_evidence_are_refused(level: str) -> None:
    with pytest.raises(LevelRefused):
        manifest(contract(level=level))


@pytest.mark.parametrize("name", ["", "kata-qemu", "kata-qemu-coco-dev", "runc", "kata-qemu-tdx\n", "kata-qemu-tdx: x"])
def test_classes_without_encrypted_memory_are_refused(name: str) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        manifest(runtime_class=name)
    assert name not in RUNTIME_CLASSES


@pytest.mark.parametrize(
    "image",
    [
        "",
        "paddock",
        "paddock:latest",
        f"paddock@sha256:{'ab' * 31}",
        f"Paddock@sha256:{'ab' * 32}",
        f"paddock:1@sha256:{'ab' * 32}",
        f"paddock@sha256:{'ab' * 32}\n",
        f'paddock"@sha256:{"ab" * 32}',
        f"pad dock@sha256:{'ab' * 32}",
        f"$(IMAGE)@sha256:{'ab' * 32}",
        f"a/../b@sha256:{'ab' * 32}",
        f"{'a' * 600}@sha256:{'ab' * 32}",
    ],
)
def test_images_without_a_digest_or_of_another_form_are_refused(image: str) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        manifest(image=image)


@pytest.mark.parametrize("text", ["a b", "$(PATH)", 'a"b', "a\nb", "../x", "é", "A", "-a", "a" * 64])
def test_hostile_names_do_not_get_in(text: str) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        manifest(namespace=text)
    with pytest.raises(ExecutorOptionInvalid):
        manifest(interpreter=text)


def test_a_title_is_no_part_of_it() -> None:
    title = 'x"}}, "spec": {"hostNetwork": true} # --- \\ $(PATH)'
    text = json.dumps(manifest(contract(title=title)))
    assert 'hostNetwork": true' not in text.replace('hostNetwork": false', "")
    assert title[:10] not in text


def test_it_is_described_from_the_contracts_file(tmp_path: Path) -> None:
    description = load_plugin("paddock.builders", "kubernetes")()
    assert isinstance(description, KubernetesDescription)
    file = tmp_path / "contract.json"
    file.write_bytes(canonical(contract().envelope.to_dict()))
    settings = {"contract": str(file), "image": IMAGE, "runtime-class": "kata-qemu-tdx"}
    value = json.loads(description.describe(settings)["job.json"])
    assert_schema("kubernetes_job_1.34", value)
    built = description.build(tmp_path / "new", settings, print)
    assert built.measurement is None
    assert json.loads((tmp_path / "new/job.json").read_text(encoding="utf-8")) == value
    for changes in ({"contract": "/nowhere"}, {"cpus": "0"}, {"colour": "red"}, {"image": "x"}):
        with pytest.raises(ExecutorOptionInvalid):
            description.describe({**settings, **changes})
    with pytest.raises(ExecutorOptionInvalid, match="missing"):
        description.describe({"contract": str(file)})


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"payload": 1}', b"\xff"])
def test_a_file_that_is_no_contract_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "contract.json"
    file.write_bytes(data)
    with pytest.raises((ExecutorOptionInvalid, ContractRefused)):
        KubernetesDescription().describe({"contract": str(file), "image": IMAGE, "runtime-class": "kata-qemu-tdx"})
