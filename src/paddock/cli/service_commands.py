"""The commands that serve: hub, keeper, simulator."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from paddock.attest import NO_ATTESTER
from paddock.cli.keeper_commands import keeper
from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import SIMULATED, notice, say, say_json, working
from paddock.cli.policy_commands import keeper_home
from paddock.cli.simulator import SimulatorProcess, simulator_key, simulator_key_file
from paddock.contract.levels import Tee
from paddock.errors import ForeignKeeper, ServiceUnreachable
from paddock.executors.settings import read_settings
from paddock.keeper.home import KeeperHome
from paddock.party.home import Home

hub = typer.Typer(no_args_is_help=True, help="The hub: contracts, runs, receipts, ciphertext; nothing readable.")
simulator = typer.Typer(no_args_is_help=True, help="Stands in for attestation hardware (SIMULATED).")
SimulateOption = Annotated[
    bool, typer.Option("--simulate", help="Run a simulator where there is no trusted hardware. It protects nobody.")
]
SimulateAsOption = Annotated[
    Tee,
    typer.Option(
        "--simulate-as",
        metavar="KIND",
        help="What the simulator stands in for: enclave for level 5, confidential-vm for 4, measured-host for 3, "
        "software for 2.",
    ),
]
ProofOption = Annotated[
    str,
    typer.Option(
        "--proof",
        metavar="ADDRESS",
        help="Device that attests this server to those who demand it, e.g. tsm, gramine (see paddock doctor).",
    ),
]
AttesterOption = Annotated[
    str,
    typer.Option(
        "--attester",
        metavar="ADDRESS",
        help="Device that attests runs, e.g. tsm, gramine, tpm, tsm+gpu-0=nvidia, auto (see paddock doctor). "
        "Not with --simulate.",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="ADDRESS",
        help="Where ciphertext is kept, e.g. 's3://bucket/prefix?region=…' (credentials from the environment); "
        "a folder beside the hub's database otherwise.",
    ),
]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
ExecutorOptionOption = Annotated[
    list[str] | None,
    typer.Option("--executor-option", metavar="NAME=VALUE", help="A setting of the executor, any number of times."),
]


def serve_everything(
    *,
    home: HomeOption = DEFAULT_HOME,
    simulate: SimulateOption = False,
    simulate_as: SimulateAsOption = Tee.ENCLAVE,
    parallel: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    executor: Annotated[str, typer.Option(help="Plug-in that starts enclaves.")] = "process",
    executor_option: ExecutorOptionOption = None,
    engine: Annotated[str, typer.Option(help="Plug-in that places runs.")] = "local",
    attester: AttesterOption = NO_ATTESTER,
    proof: ProofOption = NO_ATTESTER,
    store: StoreOption = None,
    json_output: JsonOption = False,
) -> None:
    """Serve hub, your keeper and a local engine in one process, at the addresses of your home.

    Addresses that begin with https are served over attested TLS. Runs are attested by --attester; where there is no such
    hardware, --simulate rehearses. Without either, runs show no evidence and level 1 alone is possible.

    Example: paddock serve --home north --simulate
    """
    from paddock.cli import services as make  # noqa: PLC0415 - heavy: loaded by those who serve
    from paddock.cli import serving  # noqa: PLC0415 - as above
    from paddock.service.serve import serve  # noqa: PLC0415 - as above

    _check_attester(attester, simulate=simulate)
    own = Home.load(home.expanduser())
    with make.local_engine(
        own.folder / "hub",
        simulate=simulate,
        parallel=parallel,
        executor=executor,
        executor_settings=read_settings(executor_option or []),
        engine=engine,
        attester=attester,
        simulate_as=simulate_as,
    ) as placing:
        folder = own.folder / "hub"
        if serving.is_https(own.hub):  # this home's own hub: who it is needs no telling
            own = own.with_addresses(
                hub=f"{own.hub.partition('#')[0]}#{serving.hub_keys(folder).public().fingerprint()}"
            )
        services = [
            serving.serve_hub(folder, make.hub_service(folder, placing, store=store, gateway=own.hub), own.hub, proof),
            serving.serve_keeper(keeper_home(own), own.keeper, proof),
        ]
        serve(services, ready=lambda urls: _ready(urls, placing.simulator, folder, as_json=json_output))


@hub.command("serve")
def hub_serve(
    *,
    folder: Annotated[Path, typer.Option(help="Folder for the hub's database and ciphertext.")] = Path("hub"),
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 7300,
    tls: Annotated[bool, typer.Option("--tls", help="Serve over attested TLS.")] = False,
    proof: ProofOption = NO_ATTESTER,
    simulate: SimulateOption = False,
    simulate_as: SimulateAsOption = Tee.ENCLAVE,
    parallel: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    executor: Annotated[str, typer.Option(help="Plug-in that starts enclaves.")] = "process",
    executor_option: ExecutorOptionOption = None,
    engine: Annotated[str, typer.Option(help="Plug-in that places runs.")] = "local",
    attester: AttesterOption = NO_ATTESTER,
    store: StoreOption = None,
    gateway: Annotated[
        str | None,
        typer.Option(
            help="Where enclaves reach this hub, with --store, or with an executor whose runs see no folder of this host; its own address without a word."
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Serve a hub with a local engine; parties run their keepers elsewhere. See `serve` for --attester and --simulate.

    Example: paddock hub serve --folder hub --port 7300 --attester tsm
    """
    from paddock.cli import services as make  # noqa: PLC0415 - heavy: loaded by those who serve
    from paddock.cli import serving  # noqa: PLC0415 - as above
    from paddock.service.serve import serve  # noqa: PLC0415 - as above

    _check_attester(attester, simulate=simulate)
    with make.local_engine(
        folder,
        simulate=simulate,
        parallel=parallel,
        executor=executor,
        executor_settings=read_settings(executor_option or []),
        engine=engine,
        attester=attester,
        simulate_as=simulate_as,
    ) as placing:
        url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        reached = f"{url}#{serving.hub_keys(folder).public().fingerprint()}" if tls else url
        app = make.hub_service(folder, placing, store=store, gateway=gateway or reached)
        services = [serving.serve_hub(folder, app, url, proof)]
        serve(services, ready=lambda urls: _ready(urls, placing.simulator, folder, as_json=json_output))


@keeper.command("serve")
def keeper_serve(
    *,
    home: HomeOption = DEFAULT_HOME,
    folder: Annotated[
        Path | None, typer.Option(help="Serve the keeper in this folder instead, made by `keeper create` for a party.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Where to answer; with --folder alone, e.g. https://0.0.0.0:7301.")
    ] = None,
    proof: ProofOption = NO_ATTESTER,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Show evidence of a simulator, to rehearse. It protects nobody.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Serve your keeper at the address of your home, or another party's keeper that runs here.

    An address that begins with https is served over attested TLS. With --proof (or --simulate) the keeper can show
    evidence of the environment that it runs in to those who demand it.

    Example: paddock keeper serve --home north
    """
    from paddock.cli import serving  # noqa: PLC0415 - heavy: loaded by those who serve
    from paddock.service.serve import serve  # noqa: PLC0415 - as above

    if (folder is None) != (url is None):
        raise typer.BadParameter("--folder and --url go together")
    if simulate and proof != NO_ATTESTER:
        raise typer.BadParameter("--simulate stands in for what --proof names")
    if folder is not None and url is not None:
        own = KeeperHome.load(folder.expanduser())
    else:
        party = Home.load(home.expanduser())
        own, url = keeper_home(party), party.keeper
    with ExitStack() as stack:
        process = stack.enter_context(SimulatorProcess(simulator_key_file(own.folder))) if simulate else None
        served = serving.serve_keeper(own, url, proof if process is None else process.attester)
        serve([served], ready=lambda urls: _ready(urls, process, None, as_json=json_output))


@simulator.command("key")
def simulator_show(
    home: HomeOption = DEFAULT_HOME,
    folder: Annotated[
        Path | None, typer.Option(help="A hub's or a keeper's folder instead, where no home is around it.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Show the public key of this home's simulator, for keepers that mean to accept it.

    Example: paddock simulator key --home north
    """
    key = simulator_key(Home.load(home.expanduser()).folder / "hub" if folder is None else folder.expanduser())
    say_json({"key": key, "simulated": True}) if json_output else say(key)


def wait(
    home: HomeOption = DEFAULT_HOME,
    seconds: Annotated[int, typer.Option(min=1, help="How long at most.")] = 60,
    json_output: JsonOption = False,
) -> None:
    """Wait until the hub and the keeper of your home answer.

    Example: paddock wait --home north
    """
    with open_party(home) as party, working("waiting for hub and keeper", quiet=json_output):
        own, deadline = party.home, time.monotonic() + seconds
        _wait_for(party.hub.info, deadline)
        answering = _wait_for(party.keeper_info, deadline)
    if answering.get("party") != own.fingerprint:
        raise ForeignKeeper(f"At {own.keeper}.")
    say_json({"hub": own.hub, "keeper": own.keeper}) if json_output else say("Hub and keeper answer.")


def _check_attester(attester: str, *, simulate: bool) -> None:
    if simulate and attester != NO_ATTESTER:
        raise typer.BadParameter("a simulator stands where there is no attester: choose one", param_hint="--attester")


def _wait_for(ask: Callable[[], dict[str, Any]], deadline: float) -> dict[str, Any]:
    while True:
        try:
            return ask()
        except ServiceUnreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _ready(urls: dict[str, str], simulated: SimulatorProcess | None, hub_folder: Path | None, *, as_json: bool) -> None:
    from paddock.cli.serving import hub_keys, is_https  # noqa: PLC0415 - as above

    if hub_folder is not None and is_https(urls["hub"]):
        urls = {**urls, "hub": f"{urls['hub']}#{hub_keys(hub_folder).public().fingerprint()}"}
    if as_json:
        say_json({**urls, "simulated": simulated is not None, "simulator": simulated.key if simulated else None})
        return
    for name, url in urls.items():
        notice(f"[bold]{name}[/] answers at {url}")
    if simulated is not None:
        notice(f"{SIMULATED}\nthe simulator's key: {simulated.key}")
    notice("Stop with Ctrl-C.")
