"""PaddlePaddle is imported without a child process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from paddock.jobs import childless
from paddock.jobs.childless import no_children

_COUNTED = """
import sys
started = []
sys.addaudithook(lambda event, arguments: started.append(event) if event in (
    "subprocess.Popen", "os.fork", "os.posix_spawn", "os.system", "os.exec") else None)
import paddock.jobs.engine
print(started, paddock.jobs.engine.engine.__version__)
import subprocess
print(subprocess.check_output(["/bin/echo", "after"]).decode(), end="")
"""


def test_the_engine_is_imported_without_starting_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", _COUNTED], capture_output=True, text=True, timeout=120, check=True
    )
    first, second = done.stdout.splitlines()
    assert first.startswith("[] 3.")
    assert second == "after"
    assert done.stderr == ""


def test_what_its_import_asks_is_answered_as_if_nothing_were_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text("model name\t: x\nflags\t\t: fpu AVX2\n", encoding="utf-8")
    monkeypatch.setattr(childless, "_PROCESSOR", tmp_path / "cpuinfo")
    before = subprocess.Popen, os.popen
    with no_children():
        assert os.popen("cat /proc/cpuinfo | grep -i avx").read() == "flags\t\t: fpu AVX2\n"
        assert subprocess.Popen("ldd --version", shell=True).communicate() == (b"", b"no program is started here")
        for start in (lambda: os.popen("id"), lambda: subprocess.check_output(["which", "nvcc"])):
            with pytest.raises(FileNotFoundError):
                start()
    assert (subprocess.Popen, os.popen) == before


def test_programs_can_be_started_again_after_a_failed_import() -> None:
    before = subprocess.Popen, os.popen
    with pytest.raises(ImportError), no_children():
        raise ImportError
    assert (subprocess.Popen, os.popen) == before


def test_another_thread_starts_programs_meanwhile() -> None:
    """An enclave proves itself while PaddlePaddle is imported, and a TPM is asked by way of programs."""
    said: list[object] = []

    def ask() -> None:
        done = subprocess.run(["/bin/echo", "here"], capture_output=True, check=True)
        with os.popen("echo there") as pipe:
            said.extend([done.stdout, pipe.read()])

    with no_children():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        with pytest.raises(FileNotFoundError):
            subprocess.run(["/bin/echo", "here"], check=True)
    assert said == [b"here\n", "there\n"]
