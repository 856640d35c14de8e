"""The executor `nitro`: one enclave of AWS Nitro for each run, started by `nitro-cli`, gone with the run.

A program of ours (`passage`) stands between run and enclave, so that an enclave is supervised like every program: its standard
input takes the launch, its standard output gives the events, its end is the enclave's.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from paddock.errors import ExecutorFailed, ExecutorOptionInvalid
from paddock.executors.command import Command, CommandExecutor, environment
from paddock.executors.executor import Launch, OnEvent, Registers
from paddock.executors.machine.qemu import room_of
from paddock.executors.machine.routes import Route, routed
from paddock.executors.nitro.description import IMAGE, RAMDISKS, read_enclave
from paddock.executors.nitro.eif import read_eif
from paddock.executors.nitro.passage import NETWORK
from paddock.executors.nitro.settings import START, read_start
from paddock.executors.nitro.tool import RATIO, end_enclaves, find_nitro_cli, own_folder, run_enclave
from paddock.executors.room import check_room
from paddock.executors.supervision import Limits
from paddock.executors.texts import RUN

_NO_ATTESTER = "none"


class NitroExecutor(CommandExecutor):
    """Starts one enclave of AWS Nitro for each run (L4).

    Args:
        attester: must be `none`: an enclave is attested by the security module inside it.
        settings: see `SETTINGS`.
        log_folder: where the last words of each run's passage are kept for the operator; None drops them.
        limits: see `Limits`.

    Raises:
        ExecutorOptionInvalid: a setting is unknown, missing, or not understood.
    """

    isolated = True
    attester_inside: ClassVar[str] = "nsm"
    passage: ClassVar[Path] = Path(__file__).with_name("passage.py")
    """The program between run and enclave; tests put one in that speaks over other sockets."""
    turns: ClassVar[Path | None] = None
    """Where services of this user take turns; None: in `own_folder`. Tests have theirs."""
    SETTINGS: ClassVar[Mapping[str, str]] = MappingProxyType(dict(START))

    def __init__(
        self,
        *,
        attester: str,
        settings: Mapping[str, str],
        log_folder: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(log_folder=log_folder, limits=limits)
        if attester != _NO_ATTESTER:
            raise ExecutorOptionInvalid(
                "An enclave of Nitro attests itself: no attester of the host, and no simulator, reaches into it."
            )
        self._settings = read_start(settings)
        self._ways: dict[str, tuple[Route, ...]] = {}
        self._ways_lock = threading.Lock()

    def prepare(self) -> None:
        """See `Executor.prepare`."""
        chosen = self._settings
        enclave = read_enclave(chosen.image)
        image = chosen.image / IMAGE
        if not os.access(image, os.R_OK) or image.stat().st_size != enclave.size:
            raise ExecutorFailed(f"{image} is not there, not for this user, or not the one that was built.")
        least = -(-RATIO * enclave.size // (1 << 20))
        if chosen.size.memory_mib < least:
            raise ExecutorFailed(f"An enclave of this image needs at least {least} MiB (setting 'memory').")
        find_nitro_cli(chosen.tool)
        if not chosen.device.exists():
            raise ExecutorFailed(
                f"{chosen.device} is not there: it takes an EC2 instance that was started with enclaves enabled, "
                "and the driver nitro_enclaves."
            )
        if not os.access(chosen.device, os.R_OK | os.W_OK):
            raise ExecutorFailed(f"{chosen.device} is not for this user: add it to the group 'ne'.")

    def measure(self) -> str:
        """See `Executor.measure`: of the image as it lies there."""
        return self.registers().measurement()

    def registers(self) -> Registers:
        """See `TellsRegisters.registers`."""
        noted = read_enclave(self._settings.image)
        found = read_eif(self._settings.image / IMAGE)
        # Registers tell nothing of where a part ends: an enclave of moved parts would end at once (guest/initial.sh), so it is said here.
        parts = found.command_line, found.ramdisks
        if dict(found.registers) != dict(noted.registers) or parts != (noted.command_line, RAMDISKS):
            raise ExecutorFailed("The image was changed after it had been built: build it anew.")
        return Registers("nitro", found.registers, {})

    def start(self, launch: Launch, on_event: OnEvent) -> str:
        """See `Executor.start`."""
        chosen = self._settings
        room = room_of(chosen.size.memory_mib << 20, read_enclave(chosen.image).size)
        check_room(launch, room, "Start enclaves with a larger 'memory'.")
        told = routed(launch, NETWORK)
        with self._ways_lock:
            self._ways[launch.run] = told.routes
        return super().start(told.launch, on_event)

    def command(self, launch: Launch) -> Command:
        """See `CommandExecutor.command`: the enclave runs when it returns, and waits for its launch."""
        chosen = self._settings
        if not RUN.fullmatch(launch.run):  # it becomes a part of a name
            raise ExecutorFailed("The run's id is not 32 hex digits.")
        with self._ways_lock:
            routes = self._ways.pop(launch.run)
        read_enclave(chosen.image)
        tool, name = find_nitro_cli(chosen.tool), f"paddock-{launch.run}"
        running = run_enclave(tool, chosen.image / IMAGE, chosen.size, name, self.turns or own_folder())
        plan = {"cid": running.cid, "ways": [[way.inside, way.host, way.port] for way in routes]}
        arguments = (sys.executable, "-I", "-S", str(self.passage), "host", json.dumps(plan))
        return Command(arguments, environment(None), self.attester_inside, partial(end_enclaves, tool, name))
