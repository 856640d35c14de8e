"""The commands that serve: hub, keeper, simulator."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from paddock.cli.keeper_commands import keeper
from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption
from paddock.cli.output import SIMULATED, notice, say, say_json, working
from paddock.cli.policy_commands import keeper_home
from paddock.cli.simulator import SimulatorProcess, simulator_key
from paddock.errors import ForeignKeeper, ServiceUnreachable
from paddock.party.home import Home
from paddock.service.client import ServiceClient

hub = typer.Typer(no_args_is_help=True, help="The hub: contracts, runs, receipts, ciphertext; nothing readable.")
simulator = typer.Typer(no_args_is_help=True, help="Stands in for attestation hardware (SIMULATED).")
SimulateOption = Annotated[
    bool, typer.Option("--simulate", help="Run a simulator where there is no trusted hardware. It protects nobody.")
]
HostOption = Annotated[str, typer.Option(help="Address to listen on.")]


def serve_everything(
    *,
    home: HomeOption = DEFAULT_HOME,
    simulate: SimulateOption = False,
    parallel: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    executor: Annotated[str, typer.Option(help="Plug-in that starts enclaves.")] = "process",
    engine: Annotated[str, typer.Option(help="Plug-in that places runs.")] = "local",
    json_output: JsonOption = False,
) -> None:
    """Serve hub, your keeper and a local engine in one process, at the addresses of your home.

    Example: paddock serve --home north --simulate
    """
    from paddock.cli import services as make  # noqa: PLC0415 - heavy: loaded by those who serve
    from paddock.service.serve import Served, serve  # noqa: PLC0415 - as above

    own = Home.load(home.expanduser())
    with make.local_engine(
        own.folder / "hub", simulate=simulate, parallel=parallel, executor=executor, engine=engine
    ) as placing:
        hub_at, keeper_at = _address(own.hub), _address(own.keeper)
        services = [
            Served("hub", make.hub_service(own.folder / "hub", placing), *hub_at),
            Served("keeper", make.keeper_service(keeper_home(own)), *keeper_at),
        ]
        serve(services, ready=lambda urls: _ready(urls, placing.simulator, as_json=json_output))


@hub.command("serve")
def hub_serve(
    *,
    folder: Annotated[Path, typer.Option(help="Folder for the hub's database and ciphertext.")] = Path("hub"),
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 7300,
    simulate: SimulateOption = False,
    parallel: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    executor: Annotated[str, typer.Option(help="Plug-in that starts enclaves.")] = "process",
    engine: Annotated[str, typer.Option(help="Plug-in that places runs.")] = "local",
    json_output: JsonOption = False,
) -> None:
    """Serve a hub with a local engine; parties run their keepers elsewhere.

    Example: paddock hub serve --folder hub --port 7300 --simulate
    """
    from paddock.cli import services as make  # noqa: PLC0415 - heavy: loaded by those who serve
    from paddock.service.serve import Served, serve  # noqa: PLC0415 - as above

    with make.local_engine(folder, simulate=simulate, parallel=parallel, executor=executor, engine=engine) as placing:
        services = [Served("hub", make.hub_service(folder, placing), host, port)]
        serve(services, ready=lambda urls: _ready(urls, placing.simulator, as_json=json_output))


@keeper.command("serve")
def keeper_serve(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """Serve your keeper at the address of your home.

    Example: paddock keeper serve --home north
    """
    from paddock.cli import services as make  # noqa: PLC0415 - heavy: loaded by those who serve
    from paddock.service.serve import Served, serve  # noqa: PLC0415 - as above

    own = Home.load(home.expanduser())
    services = [Served("keeper", make.keeper_service(keeper_home(own)), *_address(own.keeper))]
    serve(services, ready=lambda urls: _ready(urls, None, as_json=json_output))


@simulator.command("key")
def simulator_show(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """Show the public key of this home's simulator, for keepers that mean to accept it.

    Example: paddock simulator key --home north
    """
    key = simulator_key(Home.load(home.expanduser()).folder / "hub")
    say_json({"key": key, "simulated": True}) if json_output else say(key)


def wait(
    home: HomeOption = DEFAULT_HOME,
    seconds: Annotated[int, typer.Option(min=1, help="How long at most.")] = 60,
    json_output: JsonOption = False,
) -> None:
    """Wait until the hub and the keeper of your home answer.

    Example: paddock wait --home north
    """
    own = Home.load(home.expanduser())
    deadline = time.monotonic() + seconds
    with working("waiting for hub and keeper", quiet=json_output):
        _wait_for("hub", own.hub, deadline, "/v1/health")
        answering = _wait_for("own keeper", own.keeper, deadline, "/v1/info")
    if answering.get("party") != own.fingerprint:
        raise ForeignKeeper(f"At {own.keeper}.")
    say_json({"hub": own.hub, "keeper": own.keeper}) if json_output else say("Hub and keeper answer.")


def _wait_for(name: str, url: str, deadline: float, path: str) -> dict[str, Any]:
    while True:
        try:
            with ServiceClient(name, url, timeout_seconds=2) as client:
                return client.get(path)
        except ServiceUnreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)


def _ready(urls: dict[str, str], simulated: SimulatorProcess | None, *, as_json: bool) -> None:
    if as_json:
        say_json({**urls, "simulated": simulated is not None, "simulator": simulated.key if simulated else None})
        return
    for name, url in urls.items():
        notice(f"[bold]{name}[/] answers at {url}")
    if simulated is not None:
        notice(f"{SIMULATED}\nthe simulator's key: {simulated.key}")
    notice("Stop with Ctrl-C.")
