"""Putting services together: hub, keeper, engine, executor, simulator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from fastapi import FastAPI

from paddock.attest import NO_ATTESTER, check_available
from paddock.cli.simulator import SimulatorProcess, simulator_key_file
from paddock.contract.levels import Tee
from paddock.errors import PaddockError, StoreUrlInvalid
from paddock.executors import Executor, load_plugin, make_executor
from paddock.executors.command import CommandExecutor
from paddock.hub.app import create_hub
from paddock.hub.hub import HubConfig, load_ledger_key
from paddock.keeper.home import KeeperHome
from paddock.keeper.keeper import open_keeper
from paddock.keeper.web import create_keeper_app


class LocalEngineService:
    """What places runs on this host, and the simulator beside it where there is no hardware.

    Args:
        folder: the hub's folder.
        simulate: whether to start a simulator.
        simulate_as: the kind of environment that it stands in for.
        parallel: runs at the same time.
        executor: name of the plug-in that starts enclaves.
        executor_settings: what the operator set for it.
        engine: name of the plug-in that places runs.
        attester: address of the device that attests runs; not together with a simulator.

    Raises:
        PluginUnknown: a plug-in of that name is not installed.
        ExecutorOptionInvalid: a setting of the executor is unknown, missing, or not understood.
        AttesterUnavailable: the attester's address is not understood, or its device is not there.
    """

    def __init__(
        self,
        folder: Path,
        *,
        simulate: bool,
        parallel: int,
        executor: str,
        executor_settings: Mapping[str, str],
        engine: str,
        attester: str = NO_ATTESTER,
        simulate_as: Tee = Tee.ENCLAVE,
    ) -> None:
        if simulate and attester != NO_ATTESTER:
            raise RuntimeError("a simulator stands where there is no attester")
        check_available(attester)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.parallel = parallel
        self.place_with = load_plugin("paddock.engines", engine)
        self.simulator = SimulatorProcess(simulator_key_file(folder), tee=simulate_as) if simulate else None
        if self.simulator is not None:
            attester = self.simulator.attester
        try:
            self.executor: Executor = make_executor(executor, attester=attester, settings=executor_settings)
        except PaddockError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def isolated(self) -> bool:
        """Whether runs see none of this host's files; see `CommandExecutor.isolated`."""
        return bool(getattr(self.executor, "isolated", False))

    def close(self) -> None:
        """End the enclaves that wait for runs and the simulator, if there are any."""
        executor = getattr(self, "executor", None)
        if isinstance(executor, CommandExecutor):
            executor.close()
        if self.simulator is not None:
            self.simulator.close()


def local_engine(
    folder: Path,
    *,
    simulate: bool,
    parallel: int,
    executor: str = "process",
    executor_settings: Mapping[str, str] | None = None,
    engine: str = "local",
    attester: str = NO_ATTESTER,
    simulate_as: Tee = Tee.ENCLAVE,
) -> LocalEngineService:
    """The engine of a hub's folder; see `LocalEngineService`."""
    return LocalEngineService(
        folder,
        simulate=simulate,
        parallel=parallel,
        executor=executor,
        executor_settings=executor_settings or {},
        engine=engine,
        attester=attester,
        simulate_as=simulate_as,
    )


def keeper_service(home: KeeperHome) -> FastAPI:
    """A keeper's application over its own folder."""
    return create_keeper_app(open_keeper(home))


def hub_service(
    folder: Path, engine: LocalEngineService, *, store: str | None = None, gateway: str | None = None
) -> FastAPI:
    """A hub's application over its folder: `hub.db`, `store/`, `ledger.key`.

    Args:
        folder: the hub's own.
        engine: places its runs.
        store: address of another store than the folder's, e.g. `s3://bucket/prefix`.
        gateway: where enclaves reach the hub; needed with another store, whose credentials they do not get, and where the
            executor's runs see no folder of this host.

    Raises:
        StoreUrlInvalid: enclaves must reach the hub, and nothing says where.
    """
    through_hub = store is not None or engine.isolated
    if through_hub and gateway is None:
        raise StoreUrlInvalid("Runs cannot see this hub's store and reach it through the hub: say where that is.")
    folder = folder.resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    address = store or store_address(folder)
    told = gateway if through_hub and gateway is not None else address
    if isinstance(engine.executor, CommandExecutor):
        engine.executor.get_warm(told)
    return create_hub(
        HubConfig(
            database=f"sqlite:///{folder / 'hub.db'}",
            store=address,
            gateway=gateway if through_hub else None,
            ledger_key=load_ledger_key(folder / "ledger.key"),
            origin="paddock/hub",
            engine=lambda report: engine.place_with(engine.executor, on_event=report, parallel=engine.parallel),
            simulated=engine.simulator is not None,
        )
    )


def store_address(folder: Path) -> str:
    """The address of the embedded store of a hub's folder."""
    store = folder.resolve() / "store"
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    return f"folder:{store}"
