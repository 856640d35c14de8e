"""What is written for Occlum and SCONE: golden files, the tools' own schemas, and texts that must not get in."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from paddock.errors import ExecutorOptionInvalid
from paddock.executors.occlum_build import OcclumBuilder
from paddock.executors.occlum_files import PROGRAM, RUNTIME, OcclumImage
from paddock.executors.scone import SconeBuilder
from paddock.executors.scone_session import TOLERABLE, SconeSession, Tolerance
from paddock.executors.texts import count, plain_address, plain_environment, plain_path, plain_word, size
from tests.fixtures.written import assert_golden, assert_schema, refused_by_schema

IMAGE = OcclumImage(
    interpreter="bin/python3.11",
    libraries="lib",
    start="start.py",
    module="paddock.enclave.__main__",
    memory_bytes=4 << 30,
    scratch_bytes=1 << 30,
    threads=256,
)
SESSION = SconeSession(
    name="paddock-0123456789abcdef0123456789abcdef-0011223344556677",
    mrenclave="ab" * 32,
    program=PurePosixPath("/usr/local/bin/python3"),
    arguments=("-I", "-m", "paddock.enclave"),
    scratch=PurePosixPath("/var/lib/paddock/runs/0123456789abcdef0123456789abcdef/scratch"),
    tolerance=Tolerance(),
)
HOSTILE = (
    "a b", "a\nb", "a\tb", "a\x00b", 'a"b', "a'b", "a\\b", "a:b", "a: b", "a#b", "a$b", "${HOME}", "$$SCONE::X$$", "@@1", "a,b",
    "a;b", "a|b", "a&b", "a`b`", "$(id)", "a{b}", "a[b]", "a<b", "a>b", "a*b", "a?b", "~", "a!b", "é", "\u202eb", "a\u2028b",
    "- x", "? x", "!!python/object", "&a", "*a", "%TAG", "x" * 2000,
)  # fmt: skip


def test_occlum_reads_the_configuration() -> None:
    assert_golden("occlum/Occlum.json", IMAGE.configuration())
    value = json.loads(IMAGE.configuration())
    assert_schema("occlum_json", value)
    assert value["metadata"]["debuggable"] is False
    assert value["metadata"]["enable_kss"] is False
    assert value["env"]["untrusted"] == []
    assert value["entry_points"] == [str(PROGRAM.parent)]
    assert not any(each["type"] == "hostfs" for each in value["mount"])
    layers = value["mount"][0]["options"]["layers"]
    assert layers[0]["options"] == {"MAC": ""}
    assert layers[1]["options"] == {"temporary": True}  # else what lies on the host's disk is opened


def test_occlum_reads_the_bom_file() -> None:
    text = IMAGE.bom(PurePosixPath("/srv/paddock-image/runtime/root"), PurePosixPath("/srv/paddock-image/entry"))
    assert_golden("occlum/bom.yaml", text)
    value = yaml.safe_load(text)
    assert value == json.loads(text)
    assert_schema("occlum_bom", value)


def test_sizes_follow_the_contract() -> None:
    limits = json.loads(IMAGE.configuration())["resource_limits"]
    assert limits == {
        "user_space_size": "5120MB",
        "kernel_space_heap_size": "1536MB",
        "kernel_space_stack_size": "1MB",
        "max_num_of_threads": 272,  # 256 of a job, 16 beside
    }


def test_the_entry_begins_the_enclave_whatever_the_host_says(tmp_path: Path) -> None:
    assert_golden("occlum/enclave", IMAGE.entry())
    first, _, rest = IMAGE.entry().partition("\n")
    # Occlum reads no more than 127 characters, and all of them as one path.
    assert first == f"#!{RUNTIME}/bin/python3.11"
    assert len(first) < 127
    (tmp_path / "start.py").write_text("import sys; print(__name__, *sys.argv)", encoding="utf-8")
    script = tmp_path / "enclave"
    script.write_text(rest.replace(str(RUNTIME), str(tmp_path)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), "-c", "print('the host')"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["__main__", f"{tmp_path}/start.py", "paddock.enclave.__main__"]


def test_scone_reads_the_session() -> None:
    assert_golden("scone/session.yaml", SESSION.text())
    value = yaml.safe_load(SESSION.text())
    assert_schema("scone_session", value)
    (service,) = value["services"]
    assert service["attestation"] == {"mrenclave": ["ab" * 32]}
    assert service["command"] == ["/usr/local/bin/python3", "-I", "-m", "paddock.enclave"]
    assert value["security"] == {"attestation": {"mode": "hardware", "tolerate": []}, "singleton_enclaves": True}
    assert value["access_policy"] == {"read": ["CREATOR"], "update": ["NONE"], "create_sessions": ["NONE"]}
    # No secret in clear: the CAS makes the volume's key.
    assert not {"fspf_key", "fspf_tag", "secrets"} & set(_names(value))


def test_scone_tolerates_what_is_named_and_debug_mode_never() -> None:
    tolerance = Tolerance(TOLERABLE, ("INTEL-SA-00615",))
    value = yaml.safe_load(replace(SESSION, tolerance=tolerance).text())
    assert_schema("scone_session", value)
    assert set(value["security"]["attestation"]["tolerate"]) == set(TOLERABLE)
    for refused in (Tolerance(("debug-mode",)), Tolerance(("*",)), Tolerance(advisories=("*",))):
        with pytest.raises(ExecutorOptionInvalid):
            replace(SESSION, tolerance=refused).text()


def test_the_schemas_are_strict() -> None:
    configuration = json.loads(IMAGE.configuration())
    session = yaml.safe_load(SESSION.text())
    for name, good in (("occlum_json", configuration), ("scone_session", session), ("occlum_bom", {"targets": []})):
        assert_schema(name, good)
        assert refused_by_schema(name, {**good, "more": 1})
        for member in good:
            if name != "scone_session" or member in {"name", "version", "services"}:
                assert refused_by_schema(name, {key: value for key, value in good.items() if key != member})
    assert refused_by_schema("occlum_json", {**configuration, "mount": []})


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_do_not_get_in(text: str) -> None:
    folder = PurePosixPath("/srv") / text if text != "~" else PurePosixPath("/srv/~")
    with pytest.raises(ExecutorOptionInvalid) as refused:
        IMAGE.bom(folder, PurePosixPath("/srv/entry"))
    assert text not in str(refused.value) or text.isascii()  # nor as it stands into a terminal
    for check in (plain_path, plain_word, plain_address):
        with pytest.raises(ExecutorOptionInvalid):
            check("text", f"/srv/{text}" if check is plain_path else text)
    for changes in (
        {"program": folder},
        {"arguments": (text,)},
        {"scratch": folder},
        {"name": text},
        {"mrenclave": text},
        {"tolerance": Tolerance((text,))},
        {"tolerance": Tolerance(advisories=(text,))},
    ):
        with pytest.raises(ExecutorOptionInvalid):
            SconeSession(**{**vars(SESSION), **changes}).text()
    with pytest.raises(ExecutorOptionInvalid):
        OcclumImage(**{**vars(IMAGE), "interpreter": text}).entry()
    with pytest.raises(ExecutorOptionInvalid):
        OcclumImage(**{**vars(IMAGE), "module": text}).entry()
    with pytest.raises(ExecutorOptionInvalid):
        plain_environment({"PATH": text.replace(":", "$")})
    with pytest.raises(ExecutorOptionInvalid):
        plain_environment({text: "x"})


@pytest.mark.parametrize("path", ["", "/", "relative", "/a/../b", "/a/./b", "//a", "/a//b", "/a/", "/a\n", "/..."[:3]])
def test_paths_that_are_none_are_refused(path: str) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        plain_path("text", path)


def test_plain_texts_get_in() -> None:
    assert plain_path("text", "/srv/a-b_c.d+e/1") == "/srv/a-b_c.d+e/1"
    assert [plain_word("text", each) for each in ("-I", "-m", "paddock.enclave", "a=b", "/x/y", "1")]
    assert plain_environment({"A_1": "/x:/y", "B": "C.UTF-8"})
    assert [plain_address("text", each) for each in ("cas", "cas.example:8081", "10.0.0.1")]
    assert (size("text", "4GiB"), size("text", "512MiB")) == (4 << 30, 512 << 20)
    assert count("text", "16", 16, 32) == 16


@pytest.mark.parametrize("text", ["", "0GiB", "4", "4GB", "4 GiB", "-4GiB", "4GiB\n", "٤GiB", "4e3MiB"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ExecutorOptionInvalid):
        size("memory", text)
    with pytest.raises(ExecutorOptionInvalid):
        count("threads", text if text != "4" else "40", 1, 32)


def test_descriptions_need_no_tool() -> None:
    files = OcclumBuilder().describe({"memory": "8GiB"})
    assert set(files) == {"Occlum.json", "bom.yaml", "entry/enclave"}
    assert json.loads(files["Occlum.json"])["resource_limits"]["user_space_size"] == "9216MB"
    scone = {"program": "/usr/bin/python3", "files": "/usr/lib/libbinary-fs.so"}
    assert set(SconeBuilder().describe(scone)) == {"session.yaml"}
    for builder, settings in (
        (OcclumBuilder(), {"colour": "red"}),
        (SconeBuilder(), {}),
        (SconeBuilder(), {"program": "/usr/bin/python3"}),
        (SconeBuilder(), {**scone, "program": "python3"}),
        (SconeBuilder(), {**scone, "files": "/lib/a.so:/lib/b.so"}),
        (SconeBuilder(), {**scone, "memory": "much"}),
    ):
        with pytest.raises(ExecutorOptionInvalid):
            builder.describe(settings)


def _names(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(name for each in value.values() for name in _names(each))]
    return [name for each in value for name in _names(each)] if isinstance(value, list) else []
