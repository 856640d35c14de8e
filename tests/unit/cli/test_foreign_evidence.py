"""`paddock evidence verify` on recorded files of other tools, as they were published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paddock.cli.foreign_evidence import translated
from paddock.errors import EvidenceMalformed
from tests.evidence.azure import evidence_of, recorded
from tests.fixtures.command import paddock

VECTORS = Path(__file__).parents[2] / "evidence" / "vectors"
SNP, TDX, TPM = (
    VECTORS / name for name in ("azure/snp_vtpm_evidence.json", "azure/tdx_vtpm_evidence.json", "tpm/evidence.json")
)
AT = ("--at", "2025-06-20T00:00:00Z")
CHALLENGE = b"challenge".hex()


def accepted(*arguments: object) -> Any:
    done = paddock(*arguments, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_the_recorded_machine_on_sev_snp_is_accepted_as_it_is() -> None:
    arguments = ("evidence", "verify", SNP, "--root", "amd-milan", "--allow", "smt", *AT, "--nonce", CHALLENGE)
    found = accepted(*arguments)["pieces"]["environment"]
    assert (found["provider"], found["details"]["hardware"], found["details"]["vmpl"]) == ("azure", "snp", 0)
    assert paddock(*arguments, "--kind", "azure").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((SNP, *AT), "E-EVIDENCE-02"),
        ((SNP, "--root", "amd-genoa", "--allow", "smt", *AT), "E-EVIDENCE-02"),
        ((SNP, "--root", "amd-milan", *AT), "E-EVIDENCE-09"),
        ((SNP, "--root", "amd-milan", "--allow", "smt", *AT, "--nonce", "00"), "E-EVIDENCE-05"),
        ((SNP, "--root", "amd-milan", "--allow", "smt", "--at", "2024-01-01T00:00:00Z"), "E-CRYPTO-06"),
        ((SNP, "--root", "amd-milan", "--allow", "smt", *AT, "--kind", "snp"), "E-EVIDENCE-01"),
        ((TDX, "--root", "amd-milan", *AT), "E-EVIDENCE-02"),
        ((TDX, "--root", "intel-sgx", *AT), "E-EVIDENCE-10"),
    ],
)
def test_what_does_not_hold_is_refused_with_its_code(arguments: tuple[object, ...], code: str) -> None:
    done = paddock("evidence", "verify", *arguments)
    assert done.code == 3
    assert code in done.out + done.err


def test_the_recorded_tpm_is_accepted_by_its_very_key(tmp_path: Path) -> None:
    key = json.loads(TPM.read_text("ascii"))["ak_public"]
    pem = tmp_path / "ak.pem"
    pem.write_text(f"-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n", encoding="ascii")
    found = accepted("evidence", "verify", TPM, "--root", pem)["pieces"]["environment"]
    assert (found["provider"], found["tee"]) == ("tpm", "tpm")
    assert paddock("evidence", "verify", TPM, "--root", "sha256:" + "0" * 64).code == 3


def test_it_is_the_body_that_a_machine_would_have_made() -> None:
    assert translated(SNP.read_bytes()) == evidence_of(recorded("snp"))
    assert translated(TDX.read_bytes()) == evidence_of(recorded("tdx"))


def changed(path: Path, **members: Any) -> bytes:
    found = {**json.loads(path.read_text("ascii")), **members}
    return json.dumps({name: value for name, value in found.items() if value is not None}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        changed(SNP, tpm_quote=None),
        changed(SNP, tpm_quote=[]),
        changed(SNP, tpm_quote={"message": "", "pcrs": []}),
        changed(SNP, hcl_report=None),
        changed(SNP, more=1),
        changed(SNP, td_quote="AA"),
        changed(TPM, ak_public=None),
    ],
)
def test_another_form_is_not_recognised(data: bytes) -> None:
    assert translated(data) is None


@pytest.mark.parametrize(
    "data",
    [
        changed(SNP, hcl_report="AA"),
        changed(SNP, hcl_report="!"),
        changed(SNP, hcl_report=7),
        changed(SNP, vcek=[1]),
        changed(SNP, tpm_quote={"message": "zz", "pcrs": [], "signature": ""}),
        changed(SNP, tpm_quote={"message": "", "pcrs": [7], "signature": ""}),
        changed(SNP, tpm_quote={"message": "", "pcrs": 7, "signature": ""}),
        changed(SNP, tpm_quote={"message": "", "pcrs": [], "signature": "00" * 70_000}),
        changed(TPM, ak_public="AA"),
        changed(TPM, ak_public=7),
        changed(TPM, ak_public="MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAA"),
        changed(TPM, tpm_quote={"message": "", "pcrs": [], "signature": "AAAA"}),
    ],
)
def test_what_is_not_well_formed_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceMalformed):
        translated(data)
