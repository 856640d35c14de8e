"""What two jobs could speak by, though each is behind walls of its own: the files that both read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paddock.walls import ALL, Defence, Defences
from paddock.walls.defences import without
from tests.fixtures.walled import run_inside, started

_LOCKED = """
import errno, fcntl, json, os, struct
file = os.open(json.__file__, os.O_RDONLY)  # of the image, and so of the machine: the same for every job
def named(action):
    try:
        return action()
    except OSError as error:
        return errno.errorcode[error.errno]
whole = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 0, 1, 0)
"""
_SPEAK = f"""{_LOCKED}
tell([named(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)), named(lambda: bool(fcntl.fcntl(file, fcntl.F_SETLK, whole)))])
os.read(3, 1)
"""
_LISTEN = f"""{_LOCKED}
asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
tell([
    named(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)),
    named(lambda: struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK),
])
"""


def _heard(defences: Defences) -> tuple[Any, Any]:
    """What one job hears while another one speaks, and after it."""
    with started(_SPEAK, defences=defences) as (_, ours):
        json.loads(ours.makefile().readline())
        during = run_inside(_LISTEN, defences=defences).only
    return during, run_inside(_LISTEN, defences=defences).only


def test_a_job_hears_nothing_of_another_by_locks_on_files_of_the_image() -> None:
    during, after = _heard(ALL)
    assert during == after == ["ENOSYS", "ENOSYS"]


def test_without_the_filter_it_does() -> None:
    during, after = _heard(without(Defence.SECCOMP))
    assert during == ["EAGAIN", True]
    assert after == [None, False]


@pytest.mark.parametrize(
    ("action", "open_to"),
    [
        ("fcntl.fcntl(own, fcntl.F_SETLEASE, fcntl.F_WRLCK)", 0),  # whoever opens it on this machine would wait
        ("fcntl.fcntl(3, fcntl.F_SETOWN, 1)", 0),
        ("fcntl.fcntl(3, 10, 0)", 0),  # F_SETSIG
    ],
)
def test_files_take_no_leases_and_send_no_signals(action: str, open_to: int) -> None:
    code = f"{_LOCKED}\nown = os.open('own', os.O_RDWR | os.O_CREAT, 0o600)\ntell(named(lambda: {action}))"
    assert run_inside(code).only == "ENOSYS"
    assert run_inside(code, defences=without(Defence.SECCOMP)).only == open_to


def test_huge_pages_of_the_machine_are_not_to_be_had() -> None:
    code = """
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
failed = ctypes.c_void_p(-1).value
tell(errno.errorcode[ctypes.get_errno()] if libc.mmap(None, ctypes.c_size_t(2 << 20), 3, 0x40022, -1, 0) == failed else "taken")
"""
    assert run_inside(code).only == "ENOSYS"
    assert run_inside(code, defences=without(Defence.SECCOMP)).only in {"ENOMEM", "taken"}


def test_what_ordinary_programs_need_of_locks_works() -> None:
    told = run_inside("""
import fcntl, os, sqlite3
with open('lock', 'w') as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    child = os.fork()
    if child == 0:
        with open('lock', 'w') as other:
            try:
                fcntl.lockf(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os._exit(7)
        os._exit(0)
    tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
base = sqlite3.connect('base.sqlite')
base.execute('create table t (a)')
base.execute('insert into t values (1)')
base.commit()
tell(sqlite3.connect('base.sqlite').execute('select a from t').fetchall())
""")
    assert told.lines == [7, [[1]]], told


_CALLED = """
import ctypes, errno, json, os, socket
libc = ctypes.CDLL(None, use_errno=True)
file = os.open(json.__file__, os.O_RDONLY)
def called(number, *arguments):
    ctypes.set_errno(0)
    libc.syscall(*[ctypes.c_long(each) for each in (number, *arguments)])
    return errno.errorcode.get(ctypes.get_errno(), "")
"""


def test_what_asks_for_or_changes_pages_of_a_file_in_memory_is_refused_and_reading_is_not() -> None:
    told = run_inside(f"""{_CALLED}
tell([called(327, file, 0, 0, 0, 0, 8), called(27, 0, 0, 0), called(221, file, 0, 0, 4), called(187, file, 0, 10)])
tell(os.preadv(file, [bytearray(4)], 0))
""")
    # preadv2 with RWF_NOWAIT, mincore, fadvise64, readahead
    assert told.lines == [["ENOSYS", "ENOSYS", "EPERM", "EPERM"], 4], told


def test_urgent_bytes_are_neither_sent_nor_taken_and_others_are() -> None:
    code = f"""{_CALLED}
calls = ((44, 0, 0, 1, 0, 0), (46, 0, 1), (307, 0, 0, 1), (45, 0, 0, 1, 0, 0), (47, 0, 1), (299, 0, 0, 1, 0))
tell([called(number, 3, *rest) for number, *rest in calls])
ours, theirs = socket.socketpair()
ours.send(b"a", socket.MSG_DONTWAIT), ours.sendmsg([b"b"])
tell(theirs.recv(1, socket.MSG_PEEK).decode() + theirs.recvmsg(2)[0].decode())
"""
    assert run_inside(code).lines == [["ENOSYS"] * 6, "aab"]
    assert "ENOSYS" not in run_inside(code, defences=without(Defence.SECCOMP)).lines[0]
