"""Gramine's manifest against its schema and a golden file; SIGSTRUCT; the relay to a simulator."""

from __future__ import annotations

import contextlib
import re
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from paddock.attest import open_attester
from paddock.errors import AttesterUnavailable, ExecutorOptionInvalid, SigstructInvalid
from paddock.executors.gramine.build import GramineBuilder
from paddock.executors.gramine.folder import TEMPLATE
from paddock.executors.gramine.manifest import (
    OVERHEAD_BYTES,
    THREAD_BYTES,
    EnclaveDescription,
    TrustedFile,
    enclave_bytes,
    write_manifest,
)
from paddock.executors.gramine.relay import Relay
from paddock.executors.gramine.sigstruct import read_sigstruct
from tests.fixtures.proof import evidence
from tests.fixtures.stand_in.gramine_schema import Manifest
from tests.fixtures.stand_in.gramine_tools import sigstruct
from tests.fixtures.stand_in.socket_attester import AttesterSocket

GOLDEN = Path(__file__).parents[2] / "vectors" / "gramine" / "paddock.manifest.template"
SETTINGS = {"memory": "4GiB", "edmm": "yes"}
DESCRIPTION = EnclaveDescription(
    command=("/paddock/bin/python3.11", "-I", "-S", "/paddock/start.py", "paddock.enclave.__main__"),
    environment={"LD_LIBRARY_PATH": "/lib:/paddock/lib", "LANG": "C.UTF-8"},
    runtime=PurePosixPath("/usr/lib/x86_64-linux-gnu/gramine/runtime/glibc"),
    image="root",
    etc="etc",
    trusted=(
        TrustedFile("file:/usr/lib/x86_64-linux-gnu/gramine/runtime/glibc/"),
        TrustedFile('file:root/a "name" with\\signs', "0" * 64),
    ),
    memory_bytes=4 << 30,
    scratch_bytes=1 << 30,
    threads=16,
    edmm=True,
)


def checked(text: str) -> Manifest:
    """As Gramine's tools check it, once they have named their library OS."""
    content = tomllib.loads(text)
    content["loader"]["entrypoint"] = {"uri": "file:/gramine/libsysdb.so", "sha256": "0" * 64}
    return Manifest.model_validate(content)


def test_the_manifest_is_the_golden_one() -> None:
    assert write_manifest(DESCRIPTION) == GOLDEN.read_text(encoding="utf-8")
    assert checked(write_manifest(DESCRIPTION)).sgx.trusted_files[1] == checked(GOLDEN.read_text()).sgx.trusted_files[1]


def test_the_builders_manifest_passes_the_schema_and_opens_nothing() -> None:
    text = GramineBuilder().describe(SETTINGS)[TEMPLATE]
    made = checked(text)
    assert not re.search(r"insecure__|debug__|allowed_files|passthrough", text)
    assert (made.sgx.debug, made.sgx.remote_attestation, made.sgx.file_check_policy) == (False, "dcap", "strict")
    assert made.sys.disallow_subprocesses
    assert made.sys.stack is not None
    assert made.sys.stack.size == "2M"
    assert made.loader.log_level == "error"
    assert made.loader.argv is not None
    assert made.loader.argv[0] == made.libos.entrypoint
    assert made.fs.root is not None
    assert made.fs.root.type == "tmpfs"
    assert {mount.type for mount in made.fs.mounts} == {"chroot", "tmpfs"}
    assert str(made.loader.env["LD_LIBRARY_PATH"]).split(":")[0] == "/lib"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("sgx", "trusted"), []),
        (("sgx", "debug"), "false"),
        (("sgx", "enclave_size"), 4),
        (("sgx", "remote_attestation"), "epid"),
        (("loader", "entrypoint"), "file:libsysdb.so"),
        (("libos", "entrypoint"), None),
        (("fs", "mounts"), [{"path": "lib", "uri": "file:lib"}]),
        (("fs", "mounts"), [{"type": "overlay", "path": "/lib", "uri": "file:lib"}]),
        (("sys", "stack"), {"size": "2MB"}),
    ],
)
def test_the_schema_refuses_what_gramine_refuses(key: tuple[str, str], value: object) -> None:
    content = tomllib.loads(write_manifest(DESCRIPTION))
    content["loader"]["entrypoint"] = {"uri": "file:/gramine/libsysdb.so"}
    Manifest.model_validate(content)
    content[key[0]][key[1]] = value
    with pytest.raises(ValidationError):
        Manifest.model_validate(content)


@given(st.integers(64 << 20, 1 << 40), st.integers(16, 4112))
def test_an_enclave_has_room_for_the_job_and_a_size_that_sgx_takes(memory: int, threads: int) -> None:
    size = enclave_bytes(memory, threads)
    needed = memory + OVERHEAD_BYTES + threads * THREAD_BYTES
    assert size & (size - 1) == 0
    assert needed <= size < 2 * needed


def test_what_is_built_without_a_word_holds_what_a_draft_allows_without_a_word() -> None:
    for settings, threads in ((SETTINGS, 16), (SETTINGS | {"edmm": "no"}, 272)):
        sgx = tomllib.loads(GramineBuilder().describe(settings)[TEMPLATE])["sgx"]
        assert (sgx["max_threads"], sgx["enclave_size"]) == (threads, "8192M")


@pytest.mark.parametrize(
    "change",
    [
        {"memory": "4"},
        {"memory": "4GB"},
        {"memory": "-1GiB"},
        {"memory": "1025GiB"},
        {"memory": "63MiB"},
        {"memory": ""},
        {"edmm": "true"},
        {"threads": "64"},  # with EDMM there is no number of them
        {"edmm": "no", "threads": "0"},
        {"edmm": "no", "threads": "4097"},
        {"edmm": "no", "threads": "1e3"},
        {"edmm": "no", "threads": "²²"},
        {"scratch": "0MiB"},
        {"gramine": "gramine"},
        {"debug": "yes"},
    ],
)
def test_settings_are_read_strictly(change: dict[str, str]) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        GramineBuilder().describe(SETTINGS | change)


@pytest.mark.parametrize("missing", ["memory", "edmm"])
def test_what_decides_the_measurement_has_no_default(missing: str) -> None:
    with pytest.raises(ExecutorOptionInvalid, match=missing):
        GramineBuilder().describe({name: value for name, value in SETTINGS.items() if name != missing})


# --- SIGSTRUCT -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=3, key_size=3072)


def test_a_sigstruct_is_read(key: rsa.RSAPrivateKey) -> None:
    found = read_sigstruct(sigstruct(key, bytes(range(32))))
    assert found.mrenclave == bytes(range(32))
    assert (found.debug, found.isv_prod_id, found.isv_svn) == (False, 0, 0)


def test_an_enclave_that_the_host_may_debug_is_told_as_such(key: rsa.RSAPrivateKey) -> None:
    assert read_sigstruct(sigstruct(key, bytes(32), debug=True)).debug
    # Whoever starts it may choose what the mask leaves out.
    assert read_sigstruct(sigstruct(key, bytes(32), mask=0xFFFFFFFFFFFFFFF9)).debug


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body[:-1],
        lambda body: body + b"\0",
        lambda body: b"\x07" + body[1:],
        lambda body: body[:24] + b"\2" + body[25:],
        lambda body: body[:960] + bytes([body[960] ^ 1]) + body[961:],
        lambda body: body[:928] + bytes([body[928] ^ 2]) + body[929:],
        lambda body: body[:516] + bytes([body[516] ^ 1]) + body[517:],
        lambda body: body[:512] + b"\1\0\0\0" + body[516:],
        lambda body: body[:128] + bytes(384) + body[512:],
        lambda body: b"",
    ],
)
def test_a_changed_sigstruct_is_refused(change: Callable[[bytes], bytes], key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(SigstructInvalid):
        read_sigstruct(change(sigstruct(key, bytes(32))))


# --- the relay -----------------------------------------------------------------------------------------------------


def test_a_run_without_sgx_reaches_its_simulator_by_its_token_alone(tmp_path: Path) -> None:
    with AttesterSocket(tmp_path / "s", evidence) as address:
        relay = Relay(Path(address.removeprefix("unix:")))
        try:
            assert open_attester(relay.address).attest(bytes(64)) == evidence(bytes(64))
            assert open_attester(relay.address).available()
            port = relay.address.split(":")[1]
            other = open_attester(f"loopback:{port}:{'0' * 64}")
            with pytest.raises(AttesterUnavailable):
                other.attest(bytes(64))
        finally:
            relay.close()
        assert not open_attester(relay.address).available()
        with pytest.raises(AttesterUnavailable):
            open_attester(relay.address).attest(bytes(64))


@pytest.mark.parametrize("question", [b"", b"\n", b"[]\n", b'{"token": 1}\n', b"{" * 5000, b'{"report_data": ""}\n'])
def test_what_is_no_question_is_not_passed_on(question: bytes, tmp_path: Path) -> None:
    asked = AttesterSocket(tmp_path / "s", evidence)
    with asked:
        relay = Relay(tmp_path / "s")
        try:
            with socket.create_connection(("127.0.0.1", int(relay.address.split(":")[1])), timeout=10) as connection:
                connection.sendall(question)
                connection.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(1) == b""
        finally:
            relay.close()
    assert asked.asked == []


@pytest.mark.parametrize(
    "text", ["", "80", "80:", "0:" + "0" * 64, "65536:" + "0" * 64, "80:" + "0" * 63, "80:" + "G" * 64]
)
def test_addresses_of_relays_are_read_strictly(text: str) -> None:
    with pytest.raises(AttesterUnavailable):
        open_attester(f"loopback:{text}")
