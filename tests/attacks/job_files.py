"""A malicious job wants files of the machine, changes what later runs use, or makes outputs that are more than files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from paddock.errors import OutputRefused, OutputTooLarge
from paddock.gateway.frames import Kind
from paddock.gateway.receiving import Intake
from paddock.jobs import script_run
from paddock.walls import Defence
from tests.attacks.catalogue import Actor, attack, of_jobs
from tests.attacks.ground import Ground
from tests.attacks.jail import job
from tests.attacks.switches import instead, without
from tests.fixtures.gateway import HELLO, frame, output, speak, work

_CALLS, _LANDLOCK, _IMAGE = Defence.SECCOMP, Defence.LANDLOCK, Defence.IMAGE
_READ_ONLY, _USER = Defence.READ_ONLY, Defence.ORDINARY_USER
_MOUNTS = (
    "Whoever calls the mount family is ended; there is no capability for it, in no namespace; Landlock forbids it."
)
_AS_ROOT = (_CALLS, _LANDLOCK, Defence.CAPABILITIES, Defence.NESTED_NAMESPACES)

job(
    "host-file",
    "host_file",
    "a file of the machine",
    "The job reads a file that every user of the machine may read.",
    "The image holds nothing of the host's but the installation; Landlock names what may be read.",
    "ENOENT",
    off=(_IMAGE, _LANDLOCK),
)
job(
    "private-host-file",
    "private_host_file",
    "a file of the supervisor's user",
    "The job reads what only the user may read who runs the service: keys in a home folder.",
    "As before; and a job of root's belongs to another user.",
    "ENOENT",
    off=(_IMAGE, _LANDLOCK, _USER),
)
job(
    "host-shared-memory",
    "host_shared_memory",
    "memory that other programs share by name",
    "The job opens POSIX shared memory of the machine, where another run's inputs may be staged.",
    "`/dev/shm` inside is its own.",
    "ENOENT",
    off=(_IMAGE, _LANDLOCK),
)
job(
    "write-host-file",
    "write_host_file",
    "a changed file of the machine",
    "The job writes to a file of the host.",
    "None is there; all that is there is read-only; Landlock names what may be written.",
    "ENOENT",
    off=(_IMAGE, _LANDLOCK, _READ_ONLY),
)
job(
    "image-persistence",
    "write_image",
    "code for all later runs (.pth)",
    "The job writes a file into the packages that every Python reads when it starts.",
    "The image is read-only, by its mounts, by Landlock and by its owner.",
    "EROFS",
    "EACCES",
    off=(_LANDLOCK, _READ_ONLY, _USER),
)
job(
    "cache-persistence",
    "write_cache",
    "compiled code for all later runs",
    "The job puts compiled code beside a module of the image.",
    "As before.",
    "EROFS",
    "EACCES",
    off=(_LANDLOCK, _READ_ONLY, _USER),
)
job(
    "write-input",
    "write_input",
    "a changed input",
    "The job writes into a folder of its inputs, which is the party's own or another step's.",
    "Inputs are read-only, by their mounts, by Landlock and by their owner.",
    "EROFS",
    "EACCES",
    off=(_LANDLOCK, _READ_ONLY, _USER),
)
job(
    "own-program",
    "own_program",
    "a program that it brought along",
    "The job writes a program and starts it.",
    "Landlock: what is started is of the image.",
    "EACCES",
    off=(_LANDLOCK,),
    residual="Python itself runs what it is told; the walls are around all of it alike",
)
job(
    "program-in-memory",
    "program_in_memory",
    "a program without a file",
    "The job starts a program from memory that no folder holds (memfd_create).",
    "The call is refused.",
    "EPERM",
    off=(_CALLS,),
)
job(
    "set-user-id",
    "set_user_id",
    "an output with the set-user-id bit",
    "The job makes an output that would run as its owner wherever it is unpacked.",
    "No call sets these bits.",
    "ENOSYS",
    off=(_CALLS,),
)
job(
    "set-user-id-at-birth",
    "set_user_id_at_birth",
    "the same, when the file is made",
    "The job makes the file with the bit from the beginning.",
    "No call sets these bits.",
    "ENOSYS",
    off=(_CALLS,),
)
job(
    "device-node",
    "device_node",
    "a device among the outputs",
    "The job makes a node that stands for a device.",
    "No call makes nodes, and Landlock does not allow them.",
    "EPERM",
    off=(_CALLS, _LANDLOCK),
)
job(
    "host-device",
    "terminal_device",
    "a device of the machine",
    "The job opens a device that it was not given.",
    "`/dev` holds five harmless ones, and Landlock names them.",
    "ENOENT",
    off=(Defence.DEVICES, _LANDLOCK),
)
job(
    "named-pipe",
    "named_pipe",
    "a pipe among the outputs",
    "The job makes a named pipe: whoever opens it waits for ever.",
    "No call makes nodes, and Landlock does not allow them.",
    "EPERM",
    off=(_CALLS, _LANDLOCK),
)
job(
    "socket-file",
    "socket_file",
    "a socket among the outputs",
    "The job binds a socket to a name among its outputs.",
    "No sockets, and Landlock does not allow such files.",
    "EPERM",
    off=(_CALLS, _LANDLOCK),
)
job(
    "hidden-attribute",
    "extended_attribute",
    "data in a file's attributes",
    "The job hides data where sizes are not counted.",
    "No call sets extended attributes.",
    "EPERM",
    off=(_CALLS,),
)
job(
    "inherited-descriptor",
    "inherited_descriptor",
    "a file that the supervisor had open",
    "The job looks through its descriptors for one that was left open.",
    "All but four are closed, by the supervisor and again inside.",
    "NOTHING",
    off=(Defence.DESCRIPTORS,),
)
job(
    "environment-secret",
    "inherited_environment",
    "a secret in the environment",
    "The job reads the environment that the service was started with.",
    "It gets a fixed one.",
    "NOTHING",
    off=(Defence.ENVIRONMENT,),
)
job(
    "file-handle",
    "file_handle",
    "a name for a file that no folder holds back",
    "The job takes the handle of a file, by which it is opened past all folders.",
    "The call is refused.",
    "EPERM",
    off=(_CALLS,),
)
job(
    "open-by-handle",
    "open_by_handle",
    "a file opened past all folders",
    "The job opens files by guessed handles, as a known escape from containers did.",
    "Whoever calls it is ended; there is no capability for it.",
    "SIGSYS",
    off=(_CALLS,),
)
job(
    "core-dump",
    "dumped_memory",
    "memory in a core dump",
    "The job ends itself so that the kernel writes its memory, with the inputs, to a file or to a program of the host.",
    "A limit of 1, which programs that take dumps heed as well, and it is not dumpable.",
    "NOTHING",
    off=(Defence.DUMPS,),
)
job(
    "new-root",
    "new_root",
    "another root, and the way out of it",
    "The job makes a folder its root, the first step of a known escape.",
    "The call is refused, and there is no capability for it.",
    "EPERM",
    off=(_CALLS, Defence.CAPABILITIES),
)
job("mount", "mount", "a file system of its own", "The job mounts one.", _MOUNTS, "SIGSYS", off=_AS_ROOT)
job(
    "unmount",
    "unmount",
    "what a mount covers",
    "The job takes a mount away to see what is below.",
    _MOUNTS,
    "SIGSYS",
    off=_AS_ROOT,
)
job(
    "pivot-root",
    "pivot",
    "a folder in the place of the root",
    "The job exchanges the root of its mounts.",
    _MOUNTS,
    "SIGSYS",
    off=_AS_ROOT,
)
job(
    "clone-mounts",
    "clone_mounts",
    "a copy of all mounts",
    "The job copies the tree of mounts by the newer calls.",
    _MOUNTS,
    "SIGSYS",
    off=_AS_ROOT,
)


# --- outputs that are names for something else ---


def _linked(folder: Path) -> dict[str, Path]:
    """As a collector that follows links would find them."""
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def _taken(found: Mapping[str, Path]) -> dict[str, bytes]:
    """What the supervisor has of collected files."""
    sent = HELLO + output("model", {name: path.read_bytes() for name, path in found.items()}) + frame(Kind.END)
    return speak(sent, work())[0]["model"]


@attack(
    "job-symbolic-link",
    Actor.JOB,
    "a link among the outputs",
    what="A script makes an output a symbolic link, so that whoever collects outputs reads the file it leads to.",
    stops="What is neither a plain file nor a folder is refused where outputs are collected, which is inside the walls.",
    enforced=("jobs.script_run",),
    rules=(),
    threats=(42,),
    codes=(OutputRefused,),
    claims=of_jobs(),
    off=lambda: instead(script_run, "_files", _linked),
    residual="A script that speaks on the socket itself hands out what it can read; only bytes pass, never a link.",
)
def symbolic_link(ground: Ground) -> str:
    (ground.folder / "private").write_bytes(b"private")
    outputs = ground.folder / "model"
    outputs.mkdir()
    (outputs / "weights").symlink_to(ground.folder / "private")
    return f"{_taken(script_run._files(outputs))['weights']!r} in an output"


@attack(
    "job-hard-link",
    Actor.JOB,
    "one file under many names",
    what="A script gives a file of its outputs a hundred names, each a hard link: in its scratch space it counts once.",
    stops="What leaves is counted by its bytes, under each name anew.",
    enforced=("gateway.receiving",),
    rules=("W-16",),
    threats=(42,),
    codes=(OutputTooLarge,),
    claims=of_jobs(),
    off=lambda: without(Intake.begin, "if message.size > self._left:"),
)
def hard_link(ground: Ground) -> str:
    outputs = ground.folder / "model"
    outputs.mkdir()
    (outputs / "0").write_bytes(bytes(50))
    for number in range(1, 100):
        (outputs / str(number)).hardlink_to(outputs / "0")
    return f"{sum(map(len, _taken(script_run._files(outputs)).values()))} bytes where 100 may leave"
