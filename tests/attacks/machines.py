"""What a machine's owner finds when it looks at processes, logs and disks; and ends of connections that prove nothing.

Whoever is root on the machine reads memory at L1 to L3. What is tried here is what needs less: to look at arguments,
environments, logs and files, of runs that work or are over, and at what a crash leaves behind.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from paddock.contract.levels import Level
from paddock.crypto.canonical import canonical
from paddock.crypto.dsse import Envelope
from paddock.crypto.tls import TlsKey
from paddock.enclave import __main__ as enclave
from paddock.enclave import launch as launching
from paddock.enclave.events import EventWriter
from paddock.enclave.words import LastWords
from paddock.errors import DataUnreadable, LaunchRefused, PeerRefused, StagingRefused
from paddock.evidence import Collateral, tls
from paddock.evidence.tls import ExpectedServer, Identity, TlsStatement, check_server, make_certificate, read_peer
from paddock.executors import command
from paddock.executors.executor import Launch
from paddock.executors.process import ProcessExecutor
from paddock.seal import DataKey, VolumeReader, in_order, write_volume
from paddock.store import memory
from paddock.testing.stores import MemoryStore
from paddock.views.staging import Memory, StagedFolder
from tests.attacks.catalogue import (
    NOTHING,
    Actor,
    Outcome,
    Residual,
    at_all_levels,
    at_levels,
    attack,
    remains,
    succeeds,
)
from tests.attacks.ground import Ground
from tests.attacks.switches import instead, without
from tests.fixtures.cast import NOW, RUN, minutes, private_keys, secret

MARKER = "31.415926535897"
_HOST: dict[str, Any] = {"threats": (25,), "claims": at_all_levels(), "alike": True}


def _found(where: str) -> str:
    return f"the records' marker in {where}"


def _child(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# --- processes ---


@attack(
    "host-words-of-the-run",
    Actor.HOST,
    "what a library prints while a run works",
    what="The host keeps the output streams of the enclave's process, into which a library prints values that surprised it.",
    stops="The process takes its streams for launch and events at once; whatever prints afterwards prints into nothing.",
    enforced=("enclave.boot",),
    codes=(NOTHING,),
    **_HOST,
)
def words_of_the_run(ground: Ground) -> str | Outcome:
    taken = "boot.take_channel()" if ground.defended else "pass"
    said = _child(
        "import os, sys\n"
        "from paddock.enclave import boot\n"
        f"{taken}\n"
        f"print('{MARKER}', flush=True)\n"
        f"print('{MARKER}', file=sys.stderr, flush=True)\n"
        f"os.write(1, b'{MARKER}'); os.write(2, b'{MARKER}')\n",
        ground.folder,
    ).communicate(timeout=60)[0]
    return _found("the enclave's output") if MARKER in said else Outcome.refused(NOTHING, "no word in its output")


@attack(
    "host-core-dump",
    Actor.HOST,
    "a crash that writes memory to a disk",
    what="The host, or another program of the same user, has the enclave's process crash, to find its memory in a core file.",
    stops="The process allows no core file and cannot be traced or dumped by programs of its user.",
    enforced=("enclave.boot",),
    codes=(NOTHING,),
    residual="Root of the machine can switch that off again, and read memory, at L1 to L3.",
    **_HOST,
)
def core_dump(ground: Ground) -> str | Outcome:
    hardened = "boot.harden()" if ground.defended else "pass"
    said, _ = _child(
        "import ctypes, resource\n"
        "from paddock.enclave import boot\n"
        "hard = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))\n"
        f"{hardened}\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])\n",
        ground.folder,
    ).communicate(timeout=60)
    dumpable, limit = map(int, said.split())
    if dumpable and limit:
        return "a process that the kernel would write to a file"
    return Outcome.refused(NOTHING, f"dumpable {dumpable}, core files of at most {limit} bytes")


def _launch() -> Launch:
    return Launch(run=RUN, contract={}, store=f"https://hub.test/v1/runs/{MARKER}", keepers={})


@attack(
    "host-arguments-of-the-process",
    Actor.HOST,
    "secrets among the arguments of a process",
    what="Any user of the machine lists processes with their arguments, where a run's way to the store would stand.",
    stops="A launch goes in by standard input alone; arguments name a program and nothing else.",
    enforced=("executors.command", "executors.process"),
    codes=(NOTHING,),
    off=lambda: instead(
        ProcessExecutor,
        "command",
        lambda self, launch: command.Command((*self._program, launch.line("none").decode()), {}, "none"),
    ),
    **_HOST,
)
def arguments_of_the_process(ground: Ground) -> str | Outcome:
    started = ProcessExecutor(attester="none").command(_launch())
    seen = [*started.arguments, *started.environment.values()]
    if any(MARKER in each for each in seen):
        return "a run's way to the store"
    return Outcome.refused(NOTHING, "a program's name and plain settings")


@attack(
    "host-environment-of-the-process",
    Actor.HOST,
    "the service's secrets in a run's environment",
    what="The service holds a cloud's credentials in its environment; a run's process would inherit them.",
    stops="A run's process gets an environment of an allow-list and inherits nothing.",
    enforced=("executors.command",),
    codes=(NOTHING,),
    off=lambda: instead(command, "environment", lambda _threads: dict(os.environ)),
    threats=(25, 39),
    claims=at_all_levels(),
    alike=True,
)
def environment_of_the_process(ground: Ground) -> str | Outcome:
    name = f"AWS_SECRET_{secrets.token_hex(4).upper()}"
    os.environ[name] = MARKER
    try:
        given = command.environment(1)
    finally:
        del os.environ[name]
    return "a cloud's credentials" if MARKER in given.values() else Outcome.refused(NOTHING, ", ".join(sorted(given)))


@attack(
    "host-words-of-a-failure",
    Actor.HOST,
    "values of the data in an error's words",
    what="The host gives a run reason to fail and reads from the error what the job found in the data.",
    stops="From L2 on a job's error shows the host its code alone; its words are sealed to the parties.",
    enforced=("enclave.__main__", "contract.levels"),
    rules=("L-5", "V-12"),
    threats=(25,),
    codes=(NOTHING,),
    claims=at_levels(
        (Level.L2, Level.L3, Level.L4, Level.L5), L1=succeeds("a failure's words are public there, with its code")
    ),
    off=lambda: instead(enclave, "LEVELS", _AllTold()),
    residual="That a run failed, when, and with which code, is public at every level.",
)
def words_of_a_failure(ground: Ground) -> str | Outcome:
    told, contract = io.BytesIO(), ground.contract()
    launch = launching.Launch(
        run=RUN, contract=contract.envelope.to_dict(), store="", keepers={}, attester="none", checkpoints=[]
    )
    enclave._fail(EventWriter(told), launch, contract, DataUnreadable(f"A value reads {MARKER}."), LastWords())
    if MARKER.encode() in told.getvalue():
        return _found("the error's words")
    return Outcome.refused(NOTHING, json.loads(told.getvalue())["error"]["code"])


class _AllTold:
    """A table of levels at which the host sees everything."""

    def __getitem__(self, _level: Level) -> Any:
        from types import SimpleNamespace

        return SimpleNamespace(host_sees_logs=True)


@attack(
    "host-launch-with-more",
    Actor.HOST,
    "a launch with orders of the host's own",
    what="The host adds members to the launch line: a debug switch, another measurement, a file to write to.",
    stops="A launch has exactly its members; nothing in it is trusted.",
    enforced=("enclave.launch",),
    threats=(26,),
    codes=(LaunchRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(launching, "Launch", _LaunchAsGiven),
)
def launch_with_more(ground: Ground) -> str:
    line = {
        "run": RUN,
        "contract": ground.signed().to_dict(),
        "store": "folder:/",
        "keepers": {},
        "attester": "none",
        "checkpoints": [],
        "debug": True,
    }
    read: Any = launching.read_launch(canonical(line))
    return f"a launch with debug {read.debug}"


class _LaunchAsGiven:
    """A launch with whatever came."""

    def __init__(self, value: dict[str, Any]) -> None:
        self.__dict__.update(value)

    @classmethod
    def model_validate_json(cls, line: bytes) -> _LaunchAsGiven:
        return cls(json.loads(line))

    def envelope(self) -> Envelope:
        return Envelope.from_dict(self.__dict__["contract"])


# --- disks ---


def _volume() -> VolumeReader:
    store, key = MemoryStore(), DataKey(secret("of a volume"))
    return VolumeReader.open(write_volume(in_order({"a.csv": MARKER.encode()}), key, store).asset, store, key)


@attack(
    "host-staged-on-a-disk",
    Actor.HOST,
    "plain files staged onto a disk",
    what="The host gives the enclave a staging folder that is on a disk, and reads it when the run is over.",
    stops="Files are staged on memory file systems alone, as the kernel's list of mounts tells them.",
    enforced=("views.staging",),
    threats=(40,),
    codes=(StagingRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(Memory, "check", lambda *_, **__: None),
)
def staged_on_a_disk(ground: Ground) -> str:
    mounts, swaps = ground.folder / "mounts", ground.folder / "swaps"
    mounts.write_text("20 1 0:1 / / rw - ext4 /dev/vda rw\n", "ascii")
    swaps.write_text("Filename Type Size Used Priority\n", "ascii")
    with StagedFolder(_volume(), ground.folder, memory=Memory(mounts, swaps)) as staged:
        return f"{(staged.path / 'a.csv').read_text('utf-8')} on a disk"


@attack(
    "host-swapped-to-a-disk",
    Actor.HOST,
    "staged files swapped to a disk",
    what="The host turns swap on, so that plain files in memory reach a disk.",
    stops="Where the machine swaps, nothing is staged in memory that can be swapped.",
    enforced=("views.staging",),
    threats=(40,),
    codes=(StagingRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(Memory, "check_swap", lambda _self: None),
    residual="Memory of the process is locked only where its limits allow it (docs/limitations.md).",
)
def swapped_to_a_disk(ground: Ground) -> str:
    mounts, swaps = ground.folder / "mounts", ground.folder / "swaps"
    mounts.write_text("20 1 0:1 / / rw - tmpfs tmpfs rw\n", "ascii")
    swaps.write_text("Filename Type Size Used Priority\n/dev/sda2 partition 1000 0 -2\n", "ascii")
    with StagedFolder(_volume(), ground.folder, memory=Memory(mounts, swaps)) as staged:
        return f"{(staged.path / 'a.csv').read_text('utf-8')} where it can be swapped"


@attack(
    "host-left-in-shared-memory",
    Actor.HOST,
    "plain files that a killed enclave left behind",
    what="The host kills the enclave while plain files are staged, and reads them out of /dev/shm.",
    stops="Whoever started the enclave removes what it left before it tells that it ended.",
    enforced=("store.memory", "executors.supervision"),
    threats=(40,),
    codes=(NOTHING,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: instead(memory, "remove_left", lambda *_, **__: []),
    residual="Root of the machine can look while the run works, at L1 to L3.",
)
def left_in_shared_memory(ground: Ground) -> str | Outcome:
    child = _child(
        "import pathlib, time\n"
        "from paddock.store import memory\n"
        f"with memory.own_folder(pathlib.Path({str(ground.folder)!r})) as folder:\n"
        f"    (folder / 'a.csv').write_text('{MARKER}')\n"
        "    print(flush=True)\n"
        "    time.sleep(600)\n",
        ground.folder,
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
    memory.remove_left(ground.folder, ended=child.pid)
    left = [path for path in ground.folder.rglob("*.csv") if MARKER in path.read_text("utf-8")]
    return _found(f"{len(left)} file") if left else Outcome.refused(NOTHING, "nothing was left")


# --- ends of connections ---


def _certificate(claimed: Identity, signer: Any) -> bytes:
    key = TlsKey.generate()
    statement = TlsStatement(claimed, key.public.fingerprint(), NOW, NOW + minutes(4), "server")
    return make_certificate(key, statement, signer, None)


@attack(
    "network-in-the-middle",
    Actor.NETWORK,
    "somebody in the middle of attested TLS",
    what="Somebody between a party and its keeper answers with a TLS key of its own, in the keeper's name.",
    stops="The identity in the certificate signs for this very TLS key; whoever lacks its keys cannot.",
    enforced=("evidence.tls", "channel"),
    rules=("A-19", "A-20"),
    threats=(31,),
    codes=(PeerRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(tls.read_peer, "identity.keys.sign.verify("),
)
def in_the_middle(ground: Ground) -> str:
    keeper = private_keys("tls keeper")
    shown = _certificate(Identity("keeper", keeper.public()), private_keys("in the middle"))
    peer = read_peer(shown, role="server", now=NOW)
    check_server(peer, ExpectedServer("keeper", keeper.public().fingerprint()), collateral=Collateral(), now=NOW)
    return "a connection that is taken for the keeper's"


@attack(
    "network-other-server",
    Actor.NETWORK,
    "a server with proof, but another one",
    what="Somebody answers at a keeper's address as what it is: a well certified keeper, but somebody else's.",
    stops="A client goes on with exactly the server that it expects.",
    enforced=("evidence.tls", "channel"),
    rules=("A-20",),
    threats=(31,),
    codes=(PeerRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(tls.check_server, "if found != (expected.kind, expected.fingerprint):"),
)
def other_server(ground: Ground) -> str:
    other, keeper = private_keys("another keeper"), private_keys("tls keeper")
    peer = read_peer(_certificate(Identity("keeper", other.public()), other), role="server", now=NOW)
    check_server(peer, ExpectedServer("keeper", keeper.public().fingerprint()), collateral=Collateral(), now=NOW)
    return "a deposit for another's keeper"


@attack(
    "network-old-certificate",
    Actor.NETWORK,
    "a certificate kept from long ago",
    what="Somebody who once held a TLS key of the keeper's machine goes on with its certificate a day later.",
    stops="A certificate lives minutes, and binds its times into what is signed and attested.",
    enforced=("evidence.tls",),
    rules=("A-22",),
    threats=(31,),
    codes=(PeerRefused,),
    claims=at_all_levels(),
    alike=True,
    off=lambda: without(tls.read_peer, "read.check_time(now)"),
)
def old_certificate(ground: Ground) -> str:
    keeper = private_keys("tls keeper")
    shown = _certificate(Identity("keeper", keeper.public()), keeper)
    return f"a {read_peer(shown, role='server', now=NOW + timedelta(days=1)).identity.kind} of yesterday"


remains(
    Residual(
        Actor.HOST,
        "memory of a running run, at L1 to L3",
        "Who is root on the machine reads the memory of every process. L4 and L5 take that away, by hardware.",
    ),
    Residual(
        Actor.HOST,
        "times and sizes",
        "When a run begins, reads, stores and ends, how long its steps last, its exit code, and below L5 exact sizes.",
    ),
)
