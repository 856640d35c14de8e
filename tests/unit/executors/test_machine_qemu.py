"""QEMU's command line for each kind of machine, against files that were read beside QEMU's documentation."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.executors import Launch
from paddock.executors.machine import qemu
from paddock.executors.machine.qemu import Kind, Shape, Start, arguments
from paddock.executors.machine.routes import Route, routed
from paddock.executors.machine.settings import StartSettings, read_recipe, read_start

GOLDEN = Path(__file__).with_name("golden_machines")
PLAIN = Shape(Kind.PLAIN, 2, 3072, "tcg", Path("/f/OVMF_CODE.fd"))
TDX = Shape(Kind.TDX, 8, 16384, "kvm", Path("/f/OVMF.tdx.fd"), quotes="vsock:2:4050")
SNP = Shape(Kind.SEV_SNP, 4, 8192, "kvm", Path("/f/OVMF.amdsev.fd"), c_bit=51, reduced_bits=1)
START = Start(
    "/q/qemu-system-x86_64",
    Path("/m/machine.efi"),
    Path("/m/disk,1.img"),
    None,
    (Route("10.0.2.100", "127.0.0.1", 7300),),
)
KINDS = {
    "plain": (PLAIN, replace(START, tpm=Path("/t/control"))),
    "tdx": (TDX, START),
    "tdx-unix": (replace(TDX, quotes="unix:/run/tdx-qgs/qgs.socket"), START),
    "sev-snp": (SNP, START),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_command_line_is_the_one_that_was_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/p/python")
    monkeypatch.setattr(qemu, "_RELAY", Path("/p/relay.py"))
    shape, start = KINDS[name]
    assert arguments(shape, start) == (GOLDEN / f"{name}.txt").read_text(encoding="ascii").splitlines()


@pytest.mark.parametrize(
    ("shape", "changes"),
    [
        (PLAIN, {}),
        (TDX, {"tpm": Path("/t/control")}),
        (SNP, {"tpm": Path("/t/control")}),
        (replace(TDX, accelerator="tcg"), {}),
        (replace(SNP, accelerator="tcg"), {}),
        (replace(TDX, quotes=None), {}),
        (replace(TDX, quotes="vsock:2"), {}),
        (replace(TDX, quotes="unix:relative"), {}),
        (replace(SNP, c_bit=None), {}),
        (replace(SNP, reduced_bits=None), {}),
        (replace(PLAIN, quotes="vsock:2:4050"), {"tpm": Path("/t/control")}),
        (replace(PLAIN, c_bit=51, reduced_bits=1), {"tpm": Path("/t/control")}),
    ],
)
def test_what_a_kind_of_machine_cannot_have_is_refused(shape: Shape, changes: dict[str, Any]) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        arguments(shape, replace(START, **changes))


def test_no_debugging_no_migration_no_way_to_the_host() -> None:
    """What would take the promise away is nowhere: bits 18 and 19 of SEV-SNP's policy, TDX's debug, a monitor, forwards."""
    for shape, start in KINDS.values():
        words = " ".join(arguments(shape, start))
        assert "restrict=on" in words
        assert not any(word in words for word in ("hostfwd", "monitor", "-qmp", "debug", "attributes", "-virtfs"))
    policy = int(
        next(word for word in arguments(*KINDS["sev-snp"]) if "sev-snp" in word).partition("policy=")[2].split(",")[0],
        16,
    )
    assert policy & (1 << 18 | 1 << 19) == 0


def test_no_random_numbers_of_the_hosts_where_memory_is_encrypted() -> None:
    for name, (shape, start) in KINDS.items():
        assert ("virtio-rng-pci" in arguments(shape, start)) == (name == "plain")


# --- addresses ----------------------------------------------------------------------------------------------------


def launch(store: str, *keepers: str) -> Launch:
    return Launch("0" * 32, {}, store, {f"{number}" * 64: each for number, each in enumerate(keepers)})


def test_each_address_gets_a_number_and_keeps_the_rest() -> None:
    told = routed(
        launch(
            "http://127.0.0.1:7300/v1/grants/ab",
            "https://keeper.example#AB",
            "http://[::1]:7310",
            "http://127.0.0.1:7300",
        )
    )
    assert told.launch.store == "http://10.0.2.100:7300/v1/grants/ab"
    assert list(told.launch.keepers.values()) == [
        "https://10.0.2.101:443#AB",
        "http://10.0.2.102:7310",
        "http://10.0.2.100:7300",
    ]
    assert told.routes == (
        Route("10.0.2.100", "127.0.0.1", 7300),
        Route("10.0.2.101", "keeper.example", 443),
        Route("10.0.2.102", "::1", 7310),
    )


@pytest.mark.parametrize(
    "store",
    [
        "folder:/store",
        "",
        "http://",
        "http://a:x",
        "http://user@host",
        "s3://bucket/prefix",
        "s3://bucket:1/x",
        "http://[",
    ],
)
def test_a_machine_has_no_files_of_the_host(store: str) -> None:
    with pytest.raises(ExecutorFailed):
        routed(launch(store))


def test_too_many_addresses_are_refused() -> None:
    with pytest.raises(ExecutorFailed, match="hundred"):
        routed(launch("http://a", *(f"http://k{number}" for number in range(100))))


# --- settings -----------------------------------------------------------------------------------------------------

PLAIN_SETTINGS = {"machine": "/m", "kind": "plain"}


def test_settings_are_read() -> None:
    start = read_start({**PLAIN_SETTINGS, "accelerator": "tcg", "memory": "2048", "cores": "1"})
    assert isinstance(start, StartSettings)
    assert (start.machine, start.tpm, start.attester) == (Path("/m"), Path("/m/tpm"), None)
    assert (start.shape.memory_mib, start.shape.cores, start.shape.accelerator) == (2048, 1, "tcg")
    start = read_start(
        {"machine": "/m", "kind": "sev-snp", "c-bit": "51", "reduced-bits": "1", "attester": "sev-guest"}
    )
    assert isinstance(start, StartSettings)
    assert (start.tpm, start.attester, start.shape.c_bit) == (None, "sev-guest", 51)
    start = read_start({"machine": "/m", "kind": "tdx", "td-report": "1.5", "rtmr0": "AB" * 48})
    assert isinstance(start, StartSettings)
    assert (start.service_td, start.told) == (True, {"rtmr0": "ab" * 48})
    recipe = read_recipe({"kernel": "/k", "modules": "/l", "reference": "no"})
    assert recipe.shape is None
    assert recipe.compression == "zstd"
    assert read_recipe({"kernel": "/k", "modules": "/l"}).shape is not None


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"machine": "/m"},
        {"kind": "plain"},
        {**PLAIN_SETTINGS, "kind": "sev"},
        {**PLAIN_SETTINGS, "rtmr0": "ab" * 48},
        {**PLAIN_SETTINGS, "td-report": "1.0"},
        {**PLAIN_SETTINGS, "address": "vsock:3:5005"},
        {"machine": "/m", "kind": "tdx", "td-report": "2.0"},
        {"machine": "/m", "kind": "tdx", "rtmr0": "ab" * 32},
        {"machine": "/m", "kind": "tdx", "rtmr1": "xy" * 48},
        {"machine": "/m", "kind": "sev-snp", "rtmr2": "ab" * 48},
        {**PLAIN_SETTINGS, "memory": "1"},
        {**PLAIN_SETTINGS, "memory": "²"},
        {**PLAIN_SETTINGS, "cores": "0"},
        {**PLAIN_SETTINGS, "accelerator": "xen"},
        {**PLAIN_SETTINGS, "quotes": "vsock:2:4050"},
        {**PLAIN_SETTINGS, "attester": "tsm"},
        {**PLAIN_SETTINGS, "qemu": "sh -c"},
        {**PLAIN_SETTINGS, "debug": "yes"},
        {"machine": "/m", "kind": "tdx", "tpm": "/t"},
    ],
)  # fmt: skip
def test_settings_that_are_not_understood_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        read_start(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"kernel": "/k"},
        {"kernel": "/k", "modules": "/l", "compression": "xz"},
        {"kernel": "/k", "modules": "/l", "kind": "tdx"},
    ],
)
def test_a_recipe_that_is_not_understood_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        read_recipe(settings)
