"""The commands `paddock run`, `runs`, `results` and `receipt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import SIMULATED, UNPROVEN, notice, notices, plain, say, say_json, short, table
from paddock.contract.terms import read_terms
from paddock.crypto.digest import is_digest
from paddock.errors import ContractRefused, PaddockError, RunEnded
from paddock.party.follow import Followed, Phase, follow
from paddock.party.party import Party
from paddock.party.results import fetch_receipt, fetch_results, load_receipt, own_policy
from paddock.receipt import VerifiedReceipt, verify_receipt
from paddock.receipt.progress import ProgressMessage

receipt = typer.Typer(no_args_is_help=True, help="Proof of what ran.")
_PHASES = {
    "booted": "the enclave booted",
    "attested": "it proved what it is",
    "released": "every keeper verified the proof and released its party's keys",
    "opened": "inputs opened inside",
    "resumed": "it goes on from a checkpoint",
    "checkpoint": "a checkpoint is stored",
    "checkpoint-refused": "a checkpoint does not hold and is passed over",
    "checkpoint-failed": "a checkpoint could not be stored; the run goes on",
    "sealing": "outputs are sealed",
    "uploaded": "outputs stored; nobody can open them yet",
}


def run(
    reference: Annotated[str, typer.Argument(metavar="CONTRACT", help="Id of the contract, or the beginning of it.")],
    follow_it: Annotated[bool, typer.Option("--follow", help="Wait for the end and show progress.")] = False,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Ask for a run of a contract that everybody signed.

    Example: paddock run 1f2e3d --follow --home north
    """
    party = open_party(home)
    proposal, _ = party.contract(reference)
    if proposal.terms.environment.simulated and not json_output:
        notice(SIMULATED)
    _queued(party, party.request_run(proposal.id), follow_it=follow_it, json_output=json_output)


def resume(
    number: Annotated[str, typer.Argument(metavar="RUN", help="Number of the run.")],
    follow_it: Annotated[bool, typer.Option("--follow", help="Wait for the end and show progress.")] = False,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Go on with a run that failed or was cancelled, from its newest checkpoint. It is the same run, of the same contract.

    Example: paddock resume 0123abcd… --follow --home north
    """
    party = open_party(home)
    party.resume_run(number)
    _queued(party, number, follow_it=follow_it, json_output=json_output)


def stop(
    number: Annotated[str, typer.Argument(metavar="RUN", help="Number of the run.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """End a run of one of your contracts without outputs. It can be resumed, while the contract allows another attempt.

    Example: paddock stop 0123abcd… --home north
    """
    open_party(home).cancel_run(number)
    say_json({"run": number, "state": "cancelled"}) if json_output else say(f"Stopped. Go on: paddock resume {number}")


def follow_run(
    number: Annotated[str, typer.Argument(metavar="RUN", help="Number of the run.")],
    until: Annotated[
        str | None, typer.Option(metavar="PHASE", help="Return when it gets there, e.g. running or checkpoint.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Follow a run, whoever asked for it, to its end.

    Example: paddock follow 0123abcd… --home north
    """
    party = open_party(home)
    if until is None:
        _followed(party, number, json_output=json_output)
        return
    error: PaddockError | None = None
    for seen, item in follow(party, number):
        error = seen.error
        if isinstance(item, Phase) and item.name == until:
            say_json({"run": number, "phase": until, "at": item.at}) if json_output else say(f"{until} at {item.at}")
            return
    raise error or RunEnded(f"It did not get to '{until}'.")


def runs(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """List the runs of your contracts.

    Example: paddock runs --home north
    """
    party = open_party(home)
    rows = party.hub.runs(party=party.home.fingerprint)
    if json_output:
        say_json(rows)
        return
    cells = []
    for row in rows:
        error: Any = row.get("error") or {}
        state = str(row.get("state"))
        reason = f"{error.get('code', '')} {error.get('message', '')}".strip() if isinstance(error, dict) else ""
        contract, started = str(row.get("contract")), str(row.get("started_at") or "")
        attempt = str(row.get("attempt", ""))
        cells.append(
            (str(row.get("run")), short(contract), _hardware(party, contract), state, attempt, started, reason)
        )
    table("", ["run", "contract", "hardware", "state", "attempt", "started", "reason"], cells)


def results(
    number: Annotated[str, typer.Argument(metavar="RUN", help="Number of the run.")],
    output: Annotated[Path, typer.Option(help="Folder for the results.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Verify a run's receipt and open the outputs that the contract gives you.

    Example: paddock results 0123abcd… --output results --home north
    """
    got = fetch_results(open_party(home), number, output, overwrite=overwrite)
    if json_output:
        folders = {name: str(path) for name, path in got.folders.items()}
        say_json({"run": number, "outputs": folders, "others": got.others, "receipt": str(got.receipt_file)})
        return
    describe_receipt(got.verified)
    table("Yours", ["output", "folder"], [(name, str(path)) for name, path in got.folders.items()])
    if got.others:
        say(f"Sealed to others: {', '.join(got.others)}.")
    say(f"Receipt: {got.receipt_file}")


@receipt.command("verify")
def receipt_verify(
    subject: Annotated[str, typer.Argument(metavar="RUN|FILE", help="Number of a run, or a receipt's file.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Verify a receipt: signatures, evidence, inputs, outputs. A file is verified without any network.

    Example: paddock receipt verify results/receipt.json --home north
    """
    party = open_party(home)
    path = Path(subject)
    if not path.is_file() and party.home.receipt_file(subject).is_file():
        path = party.home.receipt_file(subject)
    if path.is_file():
        verified = verify_receipt(load_receipt(path), policy=own_policy(party), expected_contract=None)
        own = party.signed_contract(verified.contract.id) is not None
    else:
        _, verified = fetch_receipt(party, subject)
        own = True
    if json_output:
        say_json({"verified": True, "signed_here": own, **_facts(verified)})
        return
    describe_receipt(verified)
    say("Verified: contract, evidence, keepers' statements, signature, inputs and outputs all hold.")
    if not own:
        notice("[yellow]This home never signed that contract: who its parties are is for you to judge.[/]")


def _queued(party: Party, number: str, *, follow_it: bool, json_output: bool) -> None:
    if not follow_it:
        say_json({"run": number}) if json_output else say(f"Run {number} is queued: paddock follow {number}")
        return
    _followed(party, number, json_output=json_output)


def _followed(party: Party, number: str, *, json_output: bool) -> None:
    seen = follow_on_screen(party, number, quiet=json_output)
    if seen.error is not None:
        if seen.log:
            notice("[bold]the end of what the script printed:[/]")
            notice(plain(seen.log))
        raise seen.error
    if seen.state != "succeeded":
        raise RunEnded(f"Run {number} is {seen.state}.")
    _, verified = fetch_receipt(party, number)
    seen.verify_messages(verified.binding.keys.sign)
    if json_output:
        say_json({"run": number, "state": seen.state, "unproven_messages": len(seen.unproven), **_facts(verified)})
        return
    if seen.unproven:
        notice(
            f"[yellow]{len(seen.unproven)} messages with numbers came before the last attempt: nothing proves them.[/]"
        )
    say(f"Run {number} succeeded; its receipt is verified. Fetch what is yours: paddock results {number} --output DIR")


def follow_on_screen(party: Party, number: str, *, quiet: bool) -> Followed:
    """Follow a run to its end, with a bar and the numbers that this party may see."""
    seen: Followed | None = None
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[numbers]}"), TimeElapsedColumn())
    with Progress(*columns, console=notices, disable=quiet) as bars:
        tasks: dict[str, Any] = {}
        for followed, item in follow(party, number):
            seen = followed
            if isinstance(item, Phase) and not quiet:
                _show_phase(item)
            elif isinstance(item, ProgressMessage):
                if item.step not in tasks:
                    tasks[item.step] = bars.add_task(item.step, total=item.total, numbers="")
                numbers = "  ".join(f"{name} {value:.4g}" for name, value in sorted(item.values.items()))
                bars.update(tasks[item.step], completed=item.done, total=item.total, numbers=numbers)
    if seen is None:
        raise RunEnded(f"Run {number} said nothing.")
    return seen


def describe_receipt(verified: VerifiedReceipt) -> None:
    """Print what a verified receipt says."""
    facts = verified.receipt
    say(f"[bold]{plain(verified.contract.terms.title)}[/]  run {facts.run}  {facts.started} to {facts.ended}")
    if facts.resumed is not None:
        say(f"its last attempt went on from checkpoint {facts.resumed}")
    if facts.simulated:
        say(SIMULATED)
    if verified.verdict is None:
        say(UNPROVEN)
    for label, claims in sorted(verified.verdict.claims.items() if verified.verdict else ()):
        state = "" if claims.tcb_status is None else f", firmware {plain(claims.tcb_status)}"
        say(f"proved by: {label}: {claims.provider} ({claims.tee}){state}, measurement {claims.measurement}")
    rows = []
    names = {fingerprint: name for name, fingerprint in verified.contract.terms.fingerprints().items()}
    for name, output in sorted(facts.outputs.items()):
        rows.append((name, output.asset, ", ".join(names[to] for to in output.to)))
    table("Outputs", ["output", "asset", "who can open it"], rows)


def _hardware(party: Party, contract: str) -> str:
    signed = party.signed_contract(contract) if is_digest(contract) else None
    if signed is None:
        return "?"
    try:
        return "SIMULATED" if read_terms(signed.payload).environment.simulated else ""
    except ContractRefused:
        return "?"  # signed with another version, whose form this one does not read


def _show_phase(phase: Phase) -> None:
    if phase.name == "running":
        notice(f"  [cyan]·[/] step {plain(phase.detail.get('step'))} ({plain(phase.detail.get('kind'))})")
    else:
        notice(f"  [cyan]·[/] {_PHASES.get(phase.name, plain(phase.name))}")


def _facts(verified: VerifiedReceipt) -> dict[str, Any]:
    return {
        "contract": verified.contract.id,
        "run": verified.receipt.run,
        "simulated": verified.receipt.simulated,
        "measurement": verified.receipt.measurement,
        "provider": None if verified.verdict is None else verified.verdict.environment.provider,
        "evidence": {
            label: {
                "provider": claims.provider,
                "tee": claims.tee,
                "measurement": claims.measurement,
                "simulated": claims.simulated,
                "tcb_status": claims.tcb_status,
                "advisories": list(claims.advisories),
                "settings": sorted(claims.settings),
            }
            for label, claims in sorted(verified.verdict.claims.items() if verified.verdict else ())
        },
        "inputs": verified.receipt.inputs,
        "outputs": {name: output.asset for name, output in verified.receipt.outputs.items()},
        "resumed": verified.receipt.resumed,
        "started": verified.receipt.started,
        "ended": verified.receipt.ended,
    }
