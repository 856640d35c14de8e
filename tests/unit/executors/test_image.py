"""The runtime image: what goes in, what is left out, and that an interpreter runs from it."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from paddock.errors import ImageFailed, ImageInvalid, RuntimeIncomplete
from paddock.executors.image import (
    ENCLAVE,
    Image,
    Listing,
    list_runtime,
    read_image,
    start_command,
    start_environment,
    write_image,
)
from paddock.executors.image.imports import reach
from paddock.executors.image.layout import INTERPRETER
from paddock.executors.image.libraries import C_LIBRARY, find_libraries, read_dynamic
from paddock.executors.image.listing import needed_libraries
from paddock.executors.image.pruning import kept_of_distribution, kept_of_standard_library


@pytest.fixture(scope="module")
def listing() -> Listing:
    return list_runtime(c_library=False)


# --- what goes in --------------------------------------------------------------------------------------------------


def test_the_listing_holds_what_an_enclave_needs_and_not_what_serves(listing: Listing) -> None:
    ours = {place for place in listing.modules if place.startswith("paddock/")}
    assert {"paddock/enclave/__main__.py", "paddock/jobs/train_run.py", "paddock/attest/gramine.py"} <= ours
    rooms = {PurePosixPath(place).parts[1] for place in ours}
    assert not rooms & {"hub", "keeper", "party", "cli", "testing", "samples", "executors", "query"}
    assert {"paddlepaddle", "numpy", "pydantic", "cryptography", "httpx"} <= set(listing.distributions)
    assert not set(listing.distributions) & {"fastapi", "uvicorn", "sqlalchemy", "typer", "pytest", "moto"}


def test_libraries_come_along_but_for_the_c_library(listing: Listing) -> None:
    assert {"lib/libssl.so.3", "lib/libgomp.so.1", "lib/libstdc++.so.6"} <= set(listing.files)
    assert not {Path(place).name for place in listing.files} & C_LIBRARY
    files = {place: file for place, file in listing.files.items() if place.startswith(("lib/python", "bin/"))}
    assert {"lib/libc.so.6", "lib/libm.so.6", "lib/libssl.so.3"} <= set(needed_libraries(files, c_library=True))


def test_nothing_of_the_listing_is_outside_and_plug_ins_are_found(listing: Listing) -> None:
    for place in [*listing.modules, *listing.standard, *listing.files]:
        assert ".." not in PurePosixPath(place).parts
        assert not place.startswith("/")
    assert any(place.startswith("site/paddock-") and place.endswith("entry_points.txt") for place in listing.files)
    assert len(listing.files) < 400  # each is a file that an environment verifies


def _package(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "own" / name).write_text(text, encoding="utf-8")
    return folder / "own"


def test_imports_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    package = _package(
        tmp_path,
        {
            "__init__.py": "",
            "start.py": "import json\nfrom own import first\nfrom own.room.second import thing\nimport outer.part\n",
            "first.py": "def late():\n    import own.third, numpy as np\n",
            "room/__init__.py": "NAMES = {'x': 'own.room.fourth:Class', 'y': 'own.nothing', 'z': 'own.'}\n",
            "room/second.py": "thing = 1\n",
            "room/fourth.py": "",
            "third.py": "",
            "unreached.py": "import forbidden\n",
        },
    )
    reached = reach(package, ["own.start"])
    assert reached.modules == {
        *("own", "own.start", "own.first", "own.third", "own.room", "own.room.second", "own.room.fourth"),
    }
    assert reached.foreign == {"outer", "numpy"}
    with pytest.raises(ValueError, match=r"own\.nobody"):
        reach(package, ["own.nobody"])


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("paddle/base/libpaddle.so", True),
        ("paddle/tensor/math.py", True),
        ("paddle/include/paddle/phi/x.h", False),
        ("numpy/_core/tests/data/x.csv", False),
        ("numpy/testing/__init__.py", True),
        ("paddle/__pycache__/x.cpython-311.pyc", False),
        ("paddle/x.pyc", False),
        ("paddle/x.pyi", False),
        ("certifi/cacert.pem", True),
        ("numpy-2.0.dist-info/RECORD", False),
        ("numpy-2.0.dist-info/entry_points.txt", True),
        ("../../../bin/f2py", False),
        ("/etc/passwd", False),
    ],
)
def test_what_is_left_out_of_distributions(path: str, kept: bool) -> None:
    assert kept_of_distribution(PurePosixPath(path)) is kept


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("os.py", True),
        ("json/decoder.py", True),
        ("lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so", True),
        ("lib-dynload/_testcapi.cpython-311-x86_64-linux-gnu.so", False),
        ("tkinter/__init__.py", False),
        ("test/test_os.py", False),
        ("unittest/mock.py", True),
        ("config-3.11-x86_64-linux-gnu/libpython3.11.a", False),
        ("__pycache__/os.cpython-311.pyc", False),
        ("LICENSE.txt", False),
    ],
)
def test_what_is_left_out_of_the_standard_library(path: str, kept: bool) -> None:
    assert kept_of_standard_library(PurePosixPath(path)) is kept


def test_needed_libraries_are_what_the_loader_says(tmp_path: Path) -> None:
    import _ssl

    file = Path(str(_ssl.__file__))
    shown = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
    expected = {line.split()[0] for line in shown.splitlines() if "=>" in line}
    found, missing = find_libraries([file], own={})
    assert set(found) - {"ld-linux-x86-64.so.2"} == expected
    assert missing == {}
    none, lacking = find_libraries([file], own={}, folders=[str(tmp_path)])
    assert "libc.so.6" in lacking
    assert "libc.so.6" not in none


@pytest.mark.parametrize(
    "content", [b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF\x02\x01" + bytes(58), b"\x7fELF\x01\x01" + bytes(99)]
)
def test_a_file_without_a_dynamic_section_needs_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_dynamic(tmp_path / "file") is None


def test_a_library_that_is_not_installed_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"libx.so.1": "a.so"}
    monkeypatch.setattr("paddock.executors.image.listing.find_libraries", lambda *_a, **_k: ({}, told))
    with pytest.raises(RuntimeIncomplete, match=r"not found: libx\.so\.1 \(for a\.so\)\."):
        needed_libraries({}, c_library=False)


# --- an image that runs --------------------------------------------------------------------------------------------

_PROGRAM = """
import sys
from toy import data, packed
from toy.bare.barer.later import thing
print(sys.argv, __name__, thing, data(), packed.__file__ == sys.argv[1])
"""


@pytest.fixture(scope="module")
def toy(listing: Listing, tmp_path_factory: pytest.TempPathFactory) -> Listing:
    """A listing of a tiny package and the real interpreter."""
    folder = tmp_path_factory.mktemp("toy")
    sources = {
        "toy/__init__.py": "from pathlib import Path\ndef data():\n"
        "    return Path(__file__).with_name('word.txt').read_text()\n",
        "toy/__main__.py": _PROGRAM,
        "toy/packed.py": "",
        "toy/bare/barer/later.py": "import zlib, json, decimal\nthing = json.loads('[1]')\n",
        "toy/faulty.py": "def (:\n",
    }
    modules = {}
    for place, text in sources.items():
        modules[place] = folder / place
        modules[place].parent.mkdir(parents=True, exist_ok=True)
        modules[place].write_text(text, encoding="utf-8")
    (folder / "word.txt").write_text("word", encoding="utf-8")
    files = {place: file for place, file in listing.files.items() if not place.startswith("site/")}
    return Listing(
        modules, listing.standard, {**files, "site/toy/word.txt": folder / "word.txt"}, {}, ("toy.__main__",)
    )


@pytest.fixture(scope="module")
def image(toy: Listing, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image") / "new"
    write_image(toy, folder, lambda _text: None)
    return folder


def test_an_interpreter_runs_from_the_image_alone(image: Path) -> None:
    root = image / "root"
    command = start_command(PurePosixPath(root), "toy.__main__")
    done = subprocess.run(
        [*command, f"{root}/site/toy/packed.pyc"],
        env=dict(start_environment(PurePosixPath(root))),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == f"['{root}/site/toy/__main__.pyc', '{root}/site/toy/packed.pyc'] __main__ [1] word True\n"
    assert not [path for path in root.rglob("*") if "__pycache__" in path.parts]


def test_nothing_of_this_machine_is_on_the_path(image: Path, tmp_path: Path) -> None:
    root = image / "root"
    (tmp_path / "probe.py").write_text("import sys; print(sys.path, sys.prefix)\n", encoding="utf-8")
    done = subprocess.run(
        [root / INTERPRETER, "-I", "-S", tmp_path / "probe.py"],
        env=dict(start_environment(PurePosixPath(root))),
        capture_output=True,
        text=True,
        check=True,
    )
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sys.base_prefix + "/"):
        assert folder not in done.stdout


def test_the_facts_name_every_file_by_content(image: Path) -> None:
    facts = read_image(image)
    on_disk = {path.relative_to(image / "root").as_posix() for path in (image / "root").rglob("*") if path.is_file()}
    assert set(facts.files) == on_disk
    shown = subprocess.run(
        ["sha256sum", image / "root" / "start.py"], capture_output=True, text=True, check=True
    ).stdout
    assert facts.files["start.py"].sha256 == shown.split()[0]


def test_the_same_runtime_gives_the_same_image_wherever_it_is_made(toy: Listing, tmp_path: Path) -> None:
    few = {place: file for place, file in toy.standard.items() if place.startswith(("json/", "email/", "typing"))}
    small = replace(toy, standard=few, files={})
    first, again = (write_image(small, tmp_path / name, lambda _text: None) for name in ("one", "two/deeper"))
    assert first == again
    assert first.files["modules.pack"].size > 0


def test_a_folder_that_holds_something_is_left_alone(toy: Listing, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x", encoding="utf-8")
    with pytest.raises(ImageFailed):
        write_image(toy, tmp_path, lambda _text: None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def _facts() -> dict[str, object]:
    image = Image(
        version="paddock/image/v1",
        python="CPython 3.11.7 x86_64",
        interpreter="bin/python3.11",
        start="start.py",
        libraries="lib",
        entries=[ENCLAVE],
        distributions={},
        files={},
    )
    found: dict[str, object] = json.loads(image.to_json())
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"version": "paddock/image/v2"},
        {"more": 1},
        {"start": "../start.py"},
        {"libraries": "/lib"},
        {"files": {"../a": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"/a": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"a//b": {"size": 1, "sha256": "0" * 64}}},
        {"files": {"a": {"size": -1, "sha256": "0" * 64}}},
        {"files": {"a": {"size": 1, "sha256": "0" * 63}}},
    ],
)
def test_facts_are_read_strictly(change: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "image.json").write_text(json.dumps(_facts()), encoding="utf-8")
    assert read_image(tmp_path).entries == [ENCLAVE]
    (tmp_path / "image.json").write_text(json.dumps(_facts() | change), encoding="utf-8")
    with pytest.raises(ImageInvalid):
        read_image(tmp_path)
