"""The `paddock` command."""

from __future__ import annotations

import sys

import typer

from paddock.cli.asset_commands import assets, rekey, seal
from paddock.cli.contract_commands import contract
from paddock.cli.demo_command import demo
from paddock.cli.evidence_commands import evidence
from paddock.cli.executor_commands import executor
from paddock.cli.host_commands import host
from paddock.cli.hosting_commands import hub_trust
from paddock.cli.identity_commands import init, party
from paddock.cli.keeper_commands import keeper
from paddock.cli.level_commands import level
from paddock.cli.machine_commands import doctor, job, measure
from paddock.cli.mount_command import mount
from paddock.cli.output import say_error
from paddock.cli.program_commands import program
from paddock.cli.run_commands import follow_run, receipt, results, resume, run, runs, stop
from paddock.cli.service_commands import hub, serve_everything, simulator, wait
from paddock.cli.volume_commands import volume_cat, volume_list, volume_open, volume_verify
from paddock.errors import PaddockError

app = typer.Typer(
    name="paddock",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Confidential deep learning: train and use models on data that nobody may see.",
)
_JOIN, _WORK, _PROVE, _SERVE, _LOOK = "Join", "Work together", "Prove", "Serve", "Look around"
app.command(rich_help_panel=_JOIN)(init)
app.add_typer(party, name="party", rich_help_panel=_JOIN)
app.command(rich_help_panel=_WORK)(seal)
app.command(rich_help_panel=_WORK)(assets)
app.command(rich_help_panel=_WORK)(rekey)
app.command("ls", rich_help_panel=_WORK)(volume_list)
app.command("cat", rich_help_panel=_WORK)(volume_cat)
app.command("open", rich_help_panel=_WORK)(volume_open)
app.command("verify", rich_help_panel=_WORK)(volume_verify)
app.command(rich_help_panel=_WORK)(mount)
app.add_typer(program, name="program", rich_help_panel=_WORK)
app.add_typer(contract, name="contract", rich_help_panel=_WORK)
app.command(rich_help_panel=_WORK)(run)
app.command("follow", rich_help_panel=_WORK)(follow_run)
app.command(rich_help_panel=_WORK)(stop)
app.command(rich_help_panel=_WORK)(resume)
app.command(rich_help_panel=_WORK)(runs)
app.command(rich_help_panel=_WORK)(results)
app.add_typer(receipt, name="receipt", rich_help_panel=_PROVE)
app.command(rich_help_panel=_PROVE)(measure)
app.add_typer(evidence, name="evidence", rich_help_panel=_PROVE)
app.command("serve", rich_help_panel=_SERVE)(serve_everything)
app.command(rich_help_panel=_SERVE)(wait)
hub.command("trust")(hub_trust)
app.add_typer(hub, name="hub", rich_help_panel=_SERVE)
app.add_typer(keeper, name="keeper", rich_help_panel=_SERVE)
app.add_typer(executor, name="executor", rich_help_panel=_SERVE)
app.add_typer(host, name="host", rich_help_panel=_SERVE)
app.add_typer(simulator, name="simulator", rich_help_panel=_SERVE)
app.command(rich_help_panel=_LOOK)(demo)
app.command(rich_help_panel=_LOOK)(doctor)
app.add_typer(level, name="level", rich_help_panel=_LOOK)
app.add_typer(job, name="job", rich_help_panel=_LOOK)


def main() -> None:
    """Run the command and leave with an exit code: 0, 2 usage, 3 refused, 4 unavailable, 5 misconfigured."""
    as_json = "--json" in sys.argv
    try:
        app()
    except PaddockError as error:
        say_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
