"""One test or more for each rule of docs/spec/walls.md: a job that tries to break it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from paddock.errors import WallsUnavailable
from paddock.walls import Binding, Defence, check_walls, checks
from paddock.walls.defences import without
from tests.fixtures.walled import SECONDS, SMALL, run_inside, started

_LOOK = """
import os, pathlib
status = dict(r.split(":", 1) for r in pathlib.Path("/proc/self/status").read_text().splitlines())
tell({
    "status": {name: status[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")},
    "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in ("user", "pid", "net", "ipc", "uts", "cgroup", "mnt")},
    "interfaces": [r.split(":")[0].strip() for r in open("/proc/net/dev")][2:],
    "processes": [name for name in os.listdir("/proc") if name.isdigit()],
    "host": os.uname().nodename,
    "user": [os.getuid(), os.getgid(), os.getgroups()],
    "session": os.getsid(0),
    "environment": dict(os.environ),
    "descriptors": sorted(int(n) for n in os.listdir("/proc/self/fd"))[:-1],
    "root": sorted(os.listdir("/")),
    "etc": os.listdir("/etc"),
    "dev": sorted(os.listdir("/dev")),
    "arguments": open("/proc/self/cmdline").read().split("\\0")[:4],
})
"""


@pytest.fixture(scope="module")
def look() -> dict[str, object]:
    """What a job sees when it looks around."""
    os.environ["PADDOCK_TEST_SECRET"] = "do not tell"
    inherited = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        told = run_inside(_LOOK)
    finally:
        del os.environ["PADDOCK_TEST_SECRET"]
        os.close(inherited)
    assert told.status == 0, told.log
    seen: dict[str, object] = told.only
    return seen


def test_w1_namespaces_are_its_own_and_capabilities_are_none(look) -> None:
    for name, its in look["namespaces"].items():
        assert its != str(Path(f"/proc/self/ns/{name}").readlink()), name
    assert look["interfaces"] == ["lo"]
    assert sorted(look["processes"]) == ["1", "2"]
    assert look["host"] == "paddock" != socket.gethostname()
    assert {look["status"][name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert look["status"]["NoNewPrivs"] == "1"
    assert look["session"] == 1


def test_w1_no_further_namespace() -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
tell([(libc.unshare(flag), ctypes.get_errno()) for flag in (0x10000000, 0x20000, 0x40000000)])
"""
    assert run_inside(code).only == [[-1, 1]] * 3
    # Without the filter the kernel's own limit stands, and without that it would work.
    assert run_inside(code, defences=without(Defence.SECCOMP)).only[0] == [-1, 28]
    assert run_inside(code, defences=without(Defence.SECCOMP, Defence.NESTED_NAMESPACES)).only[0][0] == 0


def test_w2_its_file_system_holds_the_image_and_nothing_else(look) -> None:
    assert {"tmp", "outputs", "dev", "proc"} <= set(look["root"])
    assert not {"home", "sys", "boot", "mnt", "var", "run"} & set(look["root"])
    assert look["etc"] == ["ld.so.cache"]
    assert look["dev"] == ["fd", "full", "null", "random", "shm", "urandom", "zero"]


def test_w2_it_writes_below_three_folders_alone(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "file").write_text("data", encoding="utf-8")
    told = run_inside(
        """
import os, pathlib, sys, paddock
def writes(folder):
    try:
        pathlib.Path(folder, "written").write_text("x")
        return True
    except OSError:
        return False
places = ["/", "/dev", "/proc", "/inputs", "/inputs/a", sys.prefix, os.path.dirname(os.__file__), os.path.dirname(paddock.__file__)]
tell([writes(p) for p in places])
tell([writes(p) for p in ("/tmp", "/outputs", "/dev/shm")])
tell(pathlib.Path("/inputs/a/file").read_text())
""",
        bindings=[Binding(given, PurePosixPath("/inputs/a"))],
    )
    assert told.lines == [[False] * 8, [True] * 3, "data"], told.log
    assert [path.name for path in given.iterdir()] == ["file"]


def test_w2_two_jobs_see_nothing_of_each_other() -> None:
    code = "import os; tell([os.listdir(p) for p in ('/tmp', '/outputs', '/dev/shm')]); open('left', 'w').close()"
    for _ in range(2):
        assert run_inside(code).only == [[], [], []]


def test_w3_its_user_is_never_root_outside() -> None:
    with started("import time; tell(1); time.sleep(60)") as (walled, ours):
        assert ours.recv(16)
        inside = _below(walled.pid)
        assert len(inside) >= 2
        for pid in inside:
            status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            uids = next(row for row in status.splitlines() if row.startswith("Uid:")).split()[1:]
            assert "0" not in uids
            assert len(set(uids)) == 1


def test_w3_inputs_of_root_alone_are_read_and_nobody_elses(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir(mode=0o700)
    (given / "mine").write_text("data", encoding="utf-8")
    (given / "mine").chmod(0o600)
    told = run_inside(
        "tell([open('/inputs/a/mine').read(), __import__('os').stat('/inputs/a/mine').st_uid])",
        bindings=[Binding(given, PurePosixPath("/inputs/a"))],
    )
    assert told.lines == [["data", 1000]], told.log


def test_w4_descriptors_environment_and_arguments_hold_nothing(look) -> None:
    assert look["descriptors"] == [0, 1, 2, 3]
    assert "do not tell" not in str(look["environment"])
    assert set(look["environment"]) <= {
        "PATH", "LANG", "LC_ALL", "TZ", "HOME", "TMPDIR", "PWD",
        "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
    }  # fmt: skip
    assert look["arguments"][1:3] == ["-I", "-B"]


def test_w5_calls_beyond_the_list_fail_or_end_it() -> None:
    told = run_inside("""
import ctypes, errno, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def tries(number, *arguments):
    child = os.fork()
    if child == 0:
        ctypes.set_errno(0)
        libc.syscall(number, *[ctypes.c_long(a) for a in arguments])
        os._exit(ctypes.get_errno())
    status = os.waitpid(child, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else errno.errorcode.get(os.WEXITSTATUS(status))
tell({
    "inet": tries(41, 2, 1, 0), "unix": tries(41, 1, 1, 0), "netlink": tries(41, 16, 3, 0),
    "datagrams": tries(53, 1, 2, 0, 0), "keyctl": tries(250, 0, 0), "io_uring": tries(425, 1, 0),
    "memfd": tries(319, 0, 0), "personality": tries(135, 0x40000), "TIOCSTI": tries(16, 0, 0x5412, 0),
    "TIOCSTI in 64 bits": tries(16, 0, 0x100005412, 0), "setuid file": tries(133, 0, 0o104755, 0),
    "clone3": tries(435, 0, 0), "openat2": tries(437, 0, 0, 0, 0), "unknown": tries(9999),
    "ptrace": tries(101, 0, 0, 0, 0), "bpf": tries(321, 0, 0, 0), "mount": tries(165, 0, 0, 0, 0, 0),
    "x32": tries(0x40000000 + 39),
})
""")
    killed = -signal.SIGSYS
    assert told.only == {
        "inet": "EPERM", "unix": "EPERM", "netlink": "EPERM", "datagrams": "ENOSYS", "keyctl": "EPERM", "io_uring": "EPERM",
        "memfd": "EPERM", "personality": "ENOSYS", "TIOCSTI": "ENOSYS", "TIOCSTI in 64 bits": "ENOSYS",
        "setuid file": "EPERM", "clone3": "ENOSYS", "openat2": "ENOSYS", "unknown": "ENOSYS",
        "ptrace": killed, "bpf": killed, "mount": killed, "x32": killed,
    }  # fmt: skip


def test_w6_landlock_alone_keeps_it_from_files_of_the_host(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    for folder in (secret, *secret.parents):
        if folder != Path("/") and folder.is_relative_to(tmp_path.parent.parent):
            folder.chmod(folder.stat().st_mode | 0o055 | (0o004 if folder == secret else 0))
    code = f"""
try:
    tell(open({str(Path("/host") / secret.relative_to("/"))!r}).read())
except OSError as error:
    tell(error.errno)
"""
    bindings = [Binding(Path("/"), PurePosixPath("/host"))]
    # The supervisor would have to bind the whole host by mistake: Landlock is told of the binding, so it is told less here.
    from paddock.walls import start

    told_of = start._landlock
    try:
        start._landlock = lambda image, _bindings: told_of(image, ())  # type: ignore[assignment]
        assert run_inside(code, bindings=bindings).only == 13
        assert run_inside(code, bindings=bindings, defences=without(Defence.LANDLOCK)).only == "secret"
    finally:
        start._landlock = told_of


def test_w7_each_ceiling_holds() -> None:
    told = run_inside(
        """
import errno, os, resource, threading
def refusal(what):
    try:
        what()
    except MemoryError:
        return "memory"
    except OSError as error:
        return errno.errorcode[error.errno]
    except ValueError as error:
        return str(error)
def many_files():
    kept = [open("/dev/null") for _ in range(2000)]
def forks():
    children = []
    try:
        for _ in range(100):
            child = os.fork()
            if child == 0:
                import time; time.sleep(30); os._exit(0)
            children.append(child)
    finally:
        for child in children:
            os.kill(child, 9); os.waitpid(child, 0)
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
tell({
    "memory": refusal(lambda: bytearray(600 << 20)),
    "file": refusal(lambda: os.pwrite(os.open("a", os.O_RDWR | os.O_CREAT), b"x", 20 << 20)),
    "scratch": refusal(lambda: [open(f"{n}", "wb").write(bytes(8 << 20)) for n in range(5)]),
    "open": refusal(many_files),
    "forks": refusal(forks),
    "raised": refusal(lambda: resource.setrlimit(resource.RLIMIT_NPROC, (1000, 1000))),
    "locked": refusal(lambda: __import__("ctypes").CDLL(None).mlockall(3) and os.stat("/nowhere")),
})
"""
    )
    assert told.only == {
        "memory": "memory", "file": "EFBIG", "scratch": "ENOSPC", "open": "EMFILE", "forks": "EAGAIN",
        "raised": "not allowed to raise maximum limit", "locked": "ENOENT",
    }, told.log  # fmt: skip


def test_w7_processor_time_is_limited() -> None:
    told = run_inside("while True: pass", ceilings=replace(SMALL, cpu_seconds=1))
    assert told.status == 128 + signal.SIGKILL


def test_w8_memory_is_not_dumped() -> None:
    told = run_inside("""
import os, resource, signal
child = os.fork()
if child == 0:
    os.abort()
status = os.waitpid(child, 0)[1]
import ctypes
tell([os.WCOREDUMP(status), resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)])
""")
    assert told.only == [False, [1, 1], 0]


def test_w9_walls_are_tried_before_they_are_relied_on(monkeypatch: pytest.MonkeyPatch) -> None:
    report = check_walls()
    assert report.landlock >= 1
    from paddock.walls.start import start_walled

    for left_out, words in (
        (Defence.SECCOMP, "seccomp"),
        (Defence.NETWORK_NAMESPACE, "interfaces"),
        (Defence.CAPABILITIES, "capabilities"),
        (Defence.LANDLOCK, "landlock"),
    ):
        monkeypatch.setattr(
            checks,
            "start_walled",
            lambda *a, left_out=left_out, **k: start_walled(*a, **k, defences=without(left_out)),
        )
        with pytest.raises(WallsUnavailable, match=words):
            check_walls()


def test_w10_ending_it_ends_everything_it_started() -> None:
    code = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        tell("orphan")
        time.sleep(600)
time.sleep(600)
"""
    with started(code) as (walled, ours):
        assert ours.recv(16)
        inside = _below(walled.pid)
        assert len(inside) >= 4
        walled.kill()
        assert walled.wait(SECONDS) == 128 + signal.SIGKILL
        assert ours.recv(16) == b""
        assert not [pid for pid in inside if Path(f"/proc/{pid}").exists()]


def test_w10_it_ends_with_its_supervisor() -> None:
    program = """
import os, socket, sys
sys.path.insert(0, os.getcwd())
from tests.fixtures.walled import started
with started("import time; tell(1); time.sleep(600)") as (walled, ours):
    ours.recv(16)
    print(walled.pid, flush=True)
    os.kill(os.getpid(), 9)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, timeout=SECONDS, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    until = time.monotonic() + SECONDS
    while _alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _below(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            found += [int(child), *_below(int(child))]
    return found
