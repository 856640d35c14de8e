"""The first programs of machines and enclaves, run here with stand-ins for all that they call: what a host tries, they end at.

The shell is the system's, with a path that holds the stand-ins alone: no program of the name is found elsewhere.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from paddock.executors import machine, nitro

_MACHINE, _NITRO = (Path(each.__path__[0]) / "guest" for each in (machine, nitro))
_VERITY = f"paddock.verity=7:{'12' * 32}:{'34' * 32}"
_LINE = f"console=ttyS0 quiet {_VERITY}"
_OTHER = f"paddock.verity=9:{'56' * 32}:{'78' * 32}"
_CPU = "processor\t: 0\nmodel name\t: {name}\nflags\t\t: fpu {flag}hypervisor\nvmx flags\t: ept\nbugs\t\t: none\n\n"
_LATER = ("usleep", "dmsetup", "switch_root", "insmod", "umount", "ip", "env", "sync", "python3")


class Guest:
    """A folder that stands for the machine: its files, and what was called."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        (folder / "bin").mkdir(parents=True)
        (folder / "proc").mkdir()
        (folder / "modules").mkdir()
        (folder / "modules" / "order").touch()
        for name in ("cat", "grep"):
            found = shutil.which(name, path="/usr/bin:/bin")
            assert found is not None
            (folder / "bin" / name).symlink_to(found)
        for name in ("mount", "ended", *_LATER):
            self.program(name, 0)

    def program(self, name: str, code: int) -> None:
        file = self.root / "bin" / name
        file.write_text(f'#!/bin/sh\necho {name} >>"{self.root}/called"\nexit {code}\n', encoding="ascii")
        file.chmod(0o755)

    def run(self, script: Path) -> tuple[int, str, list[str]]:
        """Exit code, words on the console, and the names of what was called."""
        text = script.read_text(encoding="ascii")
        text = text.replace("poweroff -f", "ended").replace("reboot -f", "ended")
        text = text.replace("export PATH=/bin", f"PATH={self.root}/bin").replace(
            "export PATH=/usr/bin", f"PATH={self.root}/bin"
        )
        for place in ("/proc/", "/sys/", "/dev/", "/modules/", "/command-line", "/usr/"):
            text = text.replace(f" {place}", f" {self.root}{place}").replace(f'"{place}', f'"{self.root}{place}')
            text = text.replace(f"<{place}", f"<{self.root}{place}").replace(f">{place}", f">{self.root}{place}")
        (self.root / "dev").mkdir(exist_ok=True)
        # Nothing of the system's is called: neither its end, nor its mounts.
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        assert f"PATH={self.root}/bin" in lines
        assert not any(word in line.split() for line in lines for word in ("poweroff", "reboot"))
        done = subprocess.run(
            ["/bin/sh", "-c", text], env={}, capture_output=True, text=True, timeout=30, check=False, cwd=self.root
        )
        console, called = self.root / "dev" / "console", self.root / "called"
        said = console.read_text(encoding="ascii") if console.exists() else ""
        return done.returncode, said, called.read_text(encoding="ascii").split() if called.exists() else []

    def start(self, line: str, measured: str = _LINE, cpu: str | None = None) -> tuple[int, str, list[str]]:
        """The machine's first program, beside this command line and with this processor."""
        (self.root / "command-line").write_text(measured, encoding="ascii")
        (self.root / "proc" / "cmdline").write_text(line + "\n", encoding="ascii")
        text = 2 * _CPU.format(name="EPYC", flag="rdrand ") if cpu is None else cpu
        (self.root / "proc" / "cpuinfo").write_text(text, encoding="ascii")
        return self.run(_MACHINE / "initial.sh")


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path / "guest")


def test_a_machine_goes_on_with_the_command_line_that_was_measured(guest: Guest) -> None:
    code, said, called = guest.start(_LINE)
    assert (code, said) == (1, "paddock: there is no disk\n")  # as far as it comes without a disk
    assert called[-1] == "ended"
    assert called.count("usleep") == 49


@pytest.mark.parametrize(
    "line",
    [f"{_LINE} {_OTHER}", f"{_OTHER} {_LINE}", _LINE.replace(_VERITY, _OTHER), f"{_LINE} debug", "quiet", ""],
)  # fmt: skip
def test_a_machine_with_other_words_on_its_command_line_ends(guest: Guest, line: str) -> None:
    """A host that adds words (SMBIOS, a stub that takes them) would name another disk: the last of that name was taken."""
    code, said, called = guest.start(line)
    assert (code, said) == (1, "paddock: the command line is not the one that was built\n")
    assert set(called) == {"mount", "ended"}


_WITH, _WITHOUT = _CPU.format(name="EPYC", flag="rdrand "), _CPU.format(name="EPYC", flag="")


@pytest.mark.parametrize(
    "cpu",
    [
        _WITHOUT,
        "",
        _WITH + _WITHOUT,
        _CPU.format(name="EPYC rdrand 3", flag=""),
        _CPU.format(name="EPYC\nflags\t\t: rdrand x", flag=""),
        _CPU.format(name="EPYC", flag="rdrandom "),
    ],
)
def test_a_machine_whose_processor_gives_no_random_numbers_ends(guest: Guest, cpu: str) -> None:
    """A host hides the instruction (on SEV-SNP it fills in what the processor says of itself), also behind a name of its own for the processor."""
    code, said, called = guest.start(_LINE, cpu=cpu)
    assert (code, said) == (1, "paddock: the processor gives no random numbers\n")
    assert set(called) == {"mount", "ended"}


def test_a_machine_that_tells_its_registers_does_nothing_more(guest: Guest) -> None:
    line = "console=ttyS0 paddock.reference"
    code, said, called = guest.start(line, line)
    assert (code, said, called[-1]) == (1, "", "ended")
    assert "usleep" not in called


@pytest.mark.parametrize(
    "script", [folder / name for folder in (_MACHINE, _NITRO) for name in ("initial.sh", "start.sh")]
)
def test_nothing_goes_on_where_the_host_does_not_let_it_end(guest: Guest, script: Path) -> None:
    """Turning off returns, as it does where the host ignores it; then the first program must be over, and the kernel with it."""
    guest.program("mount", 1)
    code, _said, called = guest.run(script)
    assert (code, called) == (1, ["mount", "ended"])
