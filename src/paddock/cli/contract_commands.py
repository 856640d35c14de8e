"""The commands below `paddock contract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from paddock.cli.options import DEFAULT_HOME, HomeOption, JsonOption, open_party
from paddock.cli.output import SIMULATED, amount, plain, say, say_json, short, table, working
from paddock.contract.levels import LEVELS
from paddock.contract.signing import Proposal
from paddock.errors import ContractRefused, DraftUnreadable
from paddock.evidence.measurement import measure_runtime
from paddock.party.party import Party

contract = typer.Typer(no_args_is_help=True, help="Propose, read, sign and end contracts.")
ContractArgument = Annotated[str, typer.Argument(help="Id of the contract, or the beginning of it.")]


@contract.command("propose")
def contract_propose(
    file: Annotated[Path, typer.Argument(help="The draft, TOML.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Resolve a draft to terms, sign them, and post them for the others to sign.

    Example: paddock contract propose contract.toml --home north
    """
    party = open_party(home)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DraftUnreadable(f"{file}: {getattr(error, 'strerror', None) or 'not text'}.") from error
    measurement = ""
    if "measurements" not in text or '"this"' in text:
        with working("measuring the runtime", quiet=json_output):
            measurement = measure_runtime().digest
    proposal = party.propose(party.draft(text, measurement=measurement))
    if json_output:
        say_json({"contract": proposal.id, "missing": proposal.missing()})
        return
    say(f"Proposed and signed [bold]{plain(proposal.terms.title)}[/]: {proposal.id}")
    if proposal.terms.environment.simulated:
        say(SIMULATED)
    say(f"Still to sign: {', '.join(proposal.missing()) or 'nobody'}.")
    say(f"Each of them: paddock contract show {short(proposal.id)}; paddock contract sign {short(proposal.id)}")


@contract.command("list")
def contract_list(home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False) -> None:
    """List the contracts that name you.

    Example: paddock contract list --home north
    """
    party = open_party(home)
    rows = [_row(party, str(said.get("contract"))) for said in party.hub.contracts(party.home.fingerprint)]
    if json_output:
        say_json(rows)
        return
    table("", ["contract", "title", "level", "hardware", "state", "still to sign"], [_cells(row) for row in rows])


@contract.command("show")
def contract_show(
    reference: ContractArgument, home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False
) -> None:
    """Show what a contract says: what you would sign, in words.

    Example: paddock contract show 1f2e3d --home north
    """
    party = open_party(home)
    proposal, said = party.contract(reference)
    if json_output:
        terms = proposal.terms.model_dump(mode="json")
        said_state = {"state": said.get("state"), "reason": said.get("reason")}
        say_json({"contract": proposal.id, "missing": proposal.missing(), "terms": terms, **said_state})
        party.note_shown(proposal)
        return
    describe(party, proposal, str(said.get("state")), str(said.get("reason") or ""))
    party.note_shown(proposal)


@contract.command("sign")
def contract_sign(
    reference: ContractArgument, home: HomeOption = DEFAULT_HOME, json_output: JsonOption = False
) -> None:
    """Sign a contract: the same bytes that all others sign.

    Example: paddock contract sign 1f2e3d --home north
    """
    proposal = open_party(home).sign(reference)
    if json_output:
        say_json({"contract": proposal.id, "missing": proposal.missing()})
        return
    missing = proposal.missing()
    if proposal.terms.environment.simulated:
        say(SIMULATED)
    left = f"Still to sign: {', '.join(missing)}." if missing else "Active."
    say(f"Signed [bold]{plain(proposal.terms.title)}[/]. {left}")


@contract.command("reject")
def contract_reject(
    reference: ContractArgument,
    reason: Annotated[str, typer.Option(help="Why; the other parties read it.")],
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """Refuse to sign; the contract ends.

    Example: paddock contract reject 1f2e3d --reason "too many runs" --home north
    """
    open_party(home).reject(reference, reason)
    say_json({"rejected": reference}) if json_output else say("Rejected; the others see your reason.")


@contract.command("cancel")
def contract_cancel(
    reference: ContractArgument,
    reason: Annotated[str, typer.Option(help="Why; the other parties read it.")] = "cancelled by a party",
    home: HomeOption = DEFAULT_HOME,
    json_output: JsonOption = False,
) -> None:
    """End a contract: your keeper releases nothing more for it, and a run under way stops.

    Example: paddock contract cancel 1f2e3d --reason "study ended" --home north
    """
    open_party(home).cancel(reference, reason)
    say_json({"cancelled": reference}) if json_output else say("Cancelled; your keeper refuses it from now on.")


def describe(party: Party, proposal: Proposal, state: str, reason: str) -> None:
    """Print a contract in words."""
    terms = proposal.terms
    policy = LEVELS[terms.level]
    why = f" ({plain(reason)})" if reason else ""
    say(f"[bold]{plain(terms.title)}[/]\n{proposal.id}\nstate, as the hub says: {plain(state)}{why}")
    say(f"level: [bold]{terms.level} {policy.title}[/]: {policy.demands} {policy.allows}")
    if terms.environment.simulated:
        say(SIMULATED)
    say(f"runs: {terms.runs}   until: {terms.expires}   missing signatures: {', '.join(proposal.missing()) or 'none'}")
    limits = terms.limits
    say(f"a party that revokes stops a run within {limits.lease_seconds} s")
    say(
        f"a run takes at most {_span(limits.run_seconds)}, {amount(limits.memory_bytes)} of memory, "
        f"{limits.processes} processes and threads, {amount(limits.scratch_bytes)} of scratch files, "
        f"and gives at most {amount(limits.output_bytes)}"
    )
    if limits.attempts > 1:
        say(
            f"a run that fails may be begun {limits.attempts} times in all, from a checkpoint every "
            f"{_span(limits.checkpoint_seconds)}"
        )
    own = party.home.fingerprint
    rows = []
    for name, fingerprint in sorted(terms.fingerprints().items()):
        known = "you" if fingerprint == own else (party.peers.name_of(fingerprint) or "NOT IN YOUR ADDRESS BOOK")
        rows.append((name, known, fingerprint, "yes" if name in proposal.signed else "no"))
    table("Parties", ["in the contract", "in your address book", "fingerprint", "signed"], rows)
    table(
        "Inputs (nobody sees what they hold)",
        ["input", "owner", "kind", "view", "asset"],
        [(name, item.owner, item.kind, item.view, item.asset) for name, item in sorted(terms.inputs.items())],
    )
    steps = []
    for step in terms.steps:
        used = "; ".join(f"{role}: {', '.join(refs)}" for role, refs in step.inputs.items())
        steps.append((step.name, step.kind, used, _words(step.parameters)))
    table("Steps", ["step", "kind", "works on", "parameters"], steps)
    table(
        "Outputs (sealed; only these can open them)",
        ["output", "made by", "who receives it", "type", "holds", "at most"],
        [
            (name, row.source, ", ".join(row.to), row.type, row.type.meaning, amount(row.max_bytes))
            for name, row in sorted(terms.outputs.items())
        ],
    )
    with working("measuring the runtime installed here, to compare", quiet=False):
        here = measure_runtime().digest
    accepted = [(row, "yes" if row == here else "NO") for row in terms.environment.measurements]
    table("Accepted runtime measurements", ["measurement", "is what is installed here"], accepted)


def _span(seconds: int) -> str:
    """A time, exactly, in the largest unit that it is a whole number of; seconds below two of the next."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _words(parameters: dict[str, Any]) -> str:
    return "\n".join(f"{key} = {value}" for key, value in parameters.items())


def _row(party: Party, contract: str) -> dict[str, Any]:
    """One contract: what its own signed bytes say, and the state that the hub gives it."""
    try:
        proposal, said = party.contract(contract)
    except ContractRefused:
        return {
            "contract": contract,
            "title": "(not valid)",
            "level": "",
            "simulated": False,
            "state": "",
            "missing": [],
        }
    return {
        "contract": proposal.id,
        "title": proposal.terms.title,
        "level": proposal.terms.level.value,
        "simulated": proposal.terms.environment.simulated,
        "state": str(said.get("state")),
        "missing": proposal.missing(),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    hardware = "SIMULATED" if row["simulated"] else ""
    return (short(row["contract"]), row["title"], row["level"], hardware, row["state"], ", ".join(row["missing"]))
