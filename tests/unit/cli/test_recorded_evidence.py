"""All recorded evidence, judged by `paddock evidence verify` as it is known to be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures.command import paddock

VECTORS = Path(__file__).parents[2] / "evidence" / "vectors"
INTEL_AT, AMD_AT, NITRO_AT = "2025-06-20T00:00:00Z", "2025-06-20T00:00:00Z", "2022-10-13T08:58:30Z"
SGX = ("--root", "intel-sgx", "--collateral", "sgx/quote_v3.collateral.json", "--at", INTEL_AT)
SGX_STATE = (
    *("--accept-status", "ConfigurationAndSWHardeningNeeded"),
    *("--accept-advisory", "INTEL-SA-00289", "--accept-advisory", "INTEL-SA-00615"),
)
TDX = ("--root", "intel-sgx", "--collateral", "tdx/quote_v4.collateral.json", "--at", INTEL_AT)
TDX_SETTINGS = ("--allow", "cached-keys", "--allow", "dynamic-platform", "--allow", "smt")
GPU = ("--root", "nvidia-device", "--at", "2026-01-01T00:00:00Z")

ACCEPTED = {
    "sgx": ("sgx/quote_v3.bin", *SGX, *SGX_STATE),
    "tdx": ("tdx/quote_v4.bin", *TDX, *TDX_SETTINGS),
    "snp": (
        "snp/report_milan.bin",
        "--root",
        "amd-milan",
        "--collateral",
        "snp/vcek_milan.der",
        "--allow",
        "smt",
        "--at",
        AMD_AT,
    ),
    "nitro": ("nitro/attestation_doc.cbor", "--root", "aws-nitro-g1", "--at", NITRO_AT),
    "azure": ("azure/snp_vtpm_evidence.json", "--root", "amd-milan", "--allow", "smt", "--at", AMD_AT),
    "nvidia": ("nvidia/hopper_report.hex", "--certificates", "nvidia/hopper_cert_chain.txt", *GPU),
    "nvidia of the vendor's tool": ("nvidia/hopper_590.json", *GPU, "--allow", "protected-pcie"),
}
REFUSED = {
    "sgx, state": (("sgx/quote_v3.bin", *SGX), "E-EVIDENCE-08"),
    "sgx, no collateral": (("sgx/quote_v3.bin", "--root", "intel-sgx", "--at", INTEL_AT), "E-EVIDENCE-10"),
    "sgx, collateral that ended": (
        ("sgx/quote_v3.bin", *SGX[:4], *SGX_STATE, "--at", "2026-11-01T00:00:00Z"),
        "E-EVIDENCE-11",
    ),
    "sgx, nothing trusted": (("sgx/quote_v3.bin", "--at", INTEL_AT), "E-EVIDENCE-02"),
    "sgx, debug": (("sgx/occlum_quote_v3.bin", *SGX), "E-EVIDENCE-04"),
    "tdx, another's collateral": (("tdx/quote_v4.bin", *SGX), "E-EVIDENCE-10"),
    "tdx, another nonce": (("tdx/quote_v4.bin", *TDX, *TDX_SETTINGS, "--nonce", "00" * 64), "E-EVIDENCE-05"),
    "tdx 1.5, no collateral recorded": (("tdx/quote_v5.bin", "--root", "intel-sgx", "--at", INTEL_AT), "E-EVIDENCE-10"),
    "snp, threads": (
        ("snp/report_milan.bin", "--root", "amd-milan", "--collateral", "snp/vcek_milan.der", "--at", AMD_AT),
        "E-EVIDENCE-09",
    ),
    "snp, no certificate": (("snp/report_milan.bin", "--root", "amd-milan", "--at", AMD_AT), "E-EVIDENCE-10"),
    "nitro, years later": (("nitro/attestation_doc.cbor", "--root", "aws-nitro-g1"), "E-CRYPTO-06"),
    "nitro, another root": (("nitro/attestation_doc.cbor", "--root", "intel-sgx", "--at", NITRO_AT), "E-EVIDENCE-02"),
    "azure on tdx, no collateral recorded": (
        ("azure/tdx_vtpm_evidence.json", "--root", "intel-sgx", "--at", INTEL_AT),
        "E-EVIDENCE-10",
    ),
    "nvidia, a switch": (
        ("nvidia/switch_report.hex", "--certificates", "nvidia/switch_cert_chain.txt", *GPU),
        "E-EVIDENCE-01",
    ),
    "nvidia, another's certificates": (
        ("nvidia/hopper_report.hex", "--certificates", "nvidia/hopper_535_cert_chain.txt", *GPU),
        "E-EVIDENCE-02",
    ),
}


def judge(arguments: tuple[str, ...], *more: str) -> tuple[int, str]:
    given = [str(VECTORS / each) if "/" in each else each for each in arguments]
    done = paddock("evidence", "verify", *given, *more)
    return done.code, done.out + done.err


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_genuine_and_acceptable_exits_with_0_and_says_what_it_is(name: str) -> None:
    code, words = judge(ACCEPTED[name], "--json")
    assert code == 0, words
    found = json.loads(words)
    assert found["accepted"]
    assert not found["simulated"]
    assert found["pieces"]["environment"]["provider"] == name.split(" ", maxsplit=1)[0]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_exits_with_3_and_its_code(name: str) -> None:
    arguments, wanted = REFUSED[name]
    code, words = judge(arguments)
    assert code == 3, words
    assert wanted in words


@pytest.mark.parametrize("file", ["snp/vcek_invalid_legacy.der", "snp/vcek_invalid_new.der"])
def test_a_certificate_that_is_not_for_this_report_is_refused(file: str) -> None:
    code, words = judge(("snp/report_milan.bin", "--root", "amd-milan", "--collateral", file, "--at", AMD_AT))
    assert code == 3
    assert "E-EVIDENCE" in words or "E-CRYPTO" in words


def key_file(folder: Path) -> str:
    """The recorded CCA platform's key, as a policy takes keys."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from tests.evidence.azure import base64url

    jwk = json.loads((VECTORS / "cca" / "cpak_pub.json").read_text("ascii"))
    x, y = (int.from_bytes(base64url(jwk[name]), "big") for name in ("x", "y"))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP384R1()).public_key()
    path = folder / "cpak.pem"
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    path.write_bytes(key.public_bytes(serialization.Encoding.PEM, form))
    return str(path)


def test_the_recorded_cca_token_is_accepted_by_its_platforms_key_alone(tmp_path: Path) -> None:
    code, words = judge(("cca/token.cbor", "--root", key_file(tmp_path)), "--json")
    assert code == 0, words
    assert json.loads(words)["pieces"]["environment"]["provider"] == "cca"
    code, words = judge(("cca/token.cbor", "--root", "intel-sgx"))
    assert code == 3
    assert "E-EVIDENCE-02" in words


@pytest.mark.parametrize("name", ACCEPTED)
def test_one_bit_more_or_less_is_refused(name: str, tmp_path: Path) -> None:
    file, *rest = ACCEPTED[name]
    data = bytearray((VECTORS / file).read_bytes())
    place = len(data) // 2
    data[place] ^= 1
    changed = tmp_path / Path(file).name
    changed.write_bytes(data)
    assert judge((str(changed), *rest))[0] == 3


def test_a_file_that_is_not_there_is_a_fault_of_the_command_and_not_of_the_evidence() -> None:
    for arguments in (("missing.bin",), ("sgx/quote_v3.bin", "--certificates", "missing.pem"), ("sgx",)):
        code, words = judge((*arguments, "--root", "intel-sgx"))
        assert code == 2, words
        assert "E-EVIDENCE" not in words
