"""The commands below `paddock level`: what each level demands, allows and is worth, and what gives it on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import typer

from paddock.attest import NO_ATTESTER, Attester, usual_attesters
from paddock.cli.doctor import ADVICE
from paddock.cli.options import JsonOption
from paddock.cli.output import plain, say, say_json, table
from paddock.contract.levels import LEVELS, Code, Level, LevelPolicy, Network, Tee
from paddock.contract.output_types import OutputType
from paddock.errors import PaddockError
from paddock.executors import load_plugin, make_executor, plugin_names

level = typer.Typer(no_args_is_help=True, help="The five security levels.")
_EXECUTORS = "paddock.executors"
_PROVED_BY: Mapping[Tee, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        Tee.SOFTWARE: (("host",),),
        Tee.MEASURED_HOST: (("host", "tpm"),),
        Tee.CONFIDENTIAL_VM: (("tsm",), ("sev-guest",), ("nsm",)),
        Tee.ENCLAVE: (("gramine",), ("occlum",)),
    }
)
"""Kinds of environment, and the attesters that prove each: one of the groups, all of its members together."""
_KINDS: Mapping[Tee, str] = MappingProxyType(
    {
        Tee.NONE: "none",
        Tee.SOFTWARE: "a host's statement",
        Tee.TPM: "a TPM quote alone",
        Tee.MEASURED_HOST: "a host's statement and a TPM quote that holds the runtime",
        Tee.CONFIDENTIAL_VM: "a confidential machine (SEV-SNP, TDX, Nitro, CCA)",
        Tee.SEALED_VM: "a confidential machine whose whole image is measured and sealed",
        Tee.ENCLAVE: "an SGX enclave",
    }
)
_CODE: Mapping[Code, str] = MappingProxyType(
    {
        Code.ANY: "built-in jobs and scripts",
        Code.PINNED: "built-in jobs, and scripts that the contract pins by digest",
        Code.BUILT_IN: "built-in jobs alone; no party's code",
    }
)
_NETWORK: Mapping[Network, str] = MappingProxyType(
    {
        Network.OPEN: "everything that the machine reaches",
        Network.GATEWAY: "its gateway alone: it runs inside walls",
        Network.NONE: "nothing: it runs in the enclave's own process",
    }
)


@dataclass(frozen=True)
class Missing:
    """What this machine has of one way to give a level. `why` is empty where it is there."""

    kind: str
    name: str
    there: bool
    why: str


@level.command("list")
def level_list(json_output: JsonOption = False) -> None:
    """List the levels: what each demands, whose code may run, and which executors give it.

    Example: paddock level list
    """
    if json_output:
        say_json([level_facts(policy) for policy in LEVELS.values()])
        return
    rows = [
        (policy.level, policy.title, _CODE[policy.code], _NETWORK[policy.network], ", ".join(policy.executors))
        for policy in LEVELS.values()
    ]
    table("", ["level", "in short", "code", "a job reaches", "executors"], rows)
    say("What one demands, allows and is worth: paddock level explain L4")


@level.command("explain")
def level_explain(
    which: Annotated[Level, typer.Argument(metavar="LEVEL", help="L1 to L5.")], json_output: JsonOption = False
) -> None:
    """Say what a level demands, allows, protects from and does not, what gives it, and what this machine lacks for it.

    Example: paddock level explain L4
    """
    policy = LEVELS[which]
    here = examine_level(policy, usual_attesters())
    if json_output:
        found = {"here": [vars(row) for row in here], "given_here": given_here(policy, here), "ask": apart(policy)}
        say_json({**level_facts(policy), **found})
        return
    say(f"[bold]{policy.level} {policy.title}[/]")
    say(f"demands: {policy.demands}\nallows: {policy.allows}")
    say(f"protects from: {policy.protects_from}\n[bold]does not protect from:[/] {policy.does_not_protect_from}\n")
    table("", ["what", "at this level"], rules(policy))
    marks = {True: "yes", False: "no"}
    table(
        "On this machine",
        ["", "what", "here", "what is missing"],
        [(r.kind, r.name, marks[r.there], r.why) for r in here],
    )
    say(verdict(policy, here))


def verdict(policy: LevelPolicy, here: list[Missing]) -> str:
    """What all of it comes to, in a sentence or two.

    The evidence of an environment of its own is made inside: only its executor, with its settings, knows whether it starts here.
    """
    if given_here(policy, here):
        return f"This machine can run contracts at {policy.level}."
    rehearsal = "With a simulator it can be tried; that protects nobody (--simulate)."
    if not (names := apart(policy)):
        return f"This machine cannot prove {policy.level}. {rehearsal}"
    checks = ", ".join(f"paddock executor check {name} --option …" for name in names)
    return f"Environments of their own prove {policy.level} from inside. Whether one starts here: {checks}. {rehearsal}"


def apart(policy: LevelPolicy) -> list[str]:
    """Those of a level's executors whose environments see nothing of this machine, and so none of its attesters."""
    installed = set(plugin_names(_EXECUTORS))
    return [
        name
        for name in policy.executors
        if name in installed and getattr(load_plugin(_EXECUTORS, name), "isolated", False)
    ]


def rules(policy: LevelPolicy) -> list[tuple[str, str]]:
    """What the table says member by member, in words."""
    bounds = policy.numbers
    free = [each.value for each in OutputType if each.is_free]
    outputs = [each.value for each in OutputType if policy.free_outputs or not each.is_free]
    return [
        ("evidence, one of", "; ".join(words for tee, words in _KINDS.items() if tee in policy.evidence)),
        ("measurement in the contract", "at least one" if policy.needs_measurement else "none needed"),
        ("debug environments", "refused, whatever a trust policy says"),
        ("simulated evidence", "only if every party signed it and every keeper names that simulator"),
        ("code", _CODE[policy.code]),
        ("a job reaches", _NETWORK[policy.network]),
        ("inputs", "padded ones alone" if policy.pads_inputs else "any"),
        ("outputs", f"{', '.join(outputs)}" + ("" if policy.free_outputs else f"; no {' and no '.join(free)}")),
        ("sizes of outputs", "padded" if policy.pads_outputs else "as they are"),
        (
            "numbers that leave",
            "as the outputs hold them"
            if bounds is None
            else f"{bounds.decimals} decimals, {bounds.digits} digits, at most {bounds.most:,} in a run",
        ),
        ("runs of a contract", f"at most {policy.most_runs:,}"),
        ("a job's words", "the host reads them" if policy.host_sees_logs else "sealed to parties; the host reads none"),
    ]


def examine_level(policy: LevelPolicy, attesters: Mapping[str, Attester]) -> list[Missing]:
    """What this machine has of what gives a level. Asks no device for evidence and starts nothing.

    Args:
        policy: the level's.
        attesters: by scheme, as `usual_attesters`.
    """
    rows = [_executor(name) for name in policy.executors]
    schemes = [
        each for tee, groups in _PROVED_BY.items() if tee in _needed(policy) for group in groups for each in group
    ]
    for scheme in dict.fromkeys(schemes):
        attester = attesters.get(scheme)
        there = attester is not None and attester.available()
        rows.append(Missing("attester", scheme, there, "" if there else ADVICE.get(scheme, "not part of this version")))
    return rows


def given_here(policy: LevelPolicy, here: list[Missing]) -> bool:
    """Whether one executor and what proves it are both there."""
    there = {(row.kind, row.name) for row in here if row.there}
    starts = any(("executor", name) in there for name in policy.executors)
    groups = [group for tee, found in _PROVED_BY.items() if tee in _needed(policy) for group in found]
    proved = Tee.NONE in policy.evidence or any(all(("attester", each) in there for each in group) for group in groups)
    return starts and proved


def _needed(policy: LevelPolicy) -> frozenset[Tee]:
    """Kinds that are shown for a level: those that are enough for it and, where the level can do without, none."""
    if Tee.NONE in policy.evidence:
        return frozenset()
    # A sealed machine is proved by what proves a confidential one; the keepers' policies say which are sealed.
    sealed = {Tee.CONFIDENTIAL_VM} if Tee.SEALED_VM in policy.evidence else set()
    return policy.evidence | sealed


def _executor(name: str) -> Missing:
    if name not in plugin_names(_EXECUTORS):
        return Missing("executor", name, False, "not part of this version")
    try:
        make_executor(name, attester=NO_ATTESTER, settings={}).prepare()
    except PaddockError as error:
        return Missing("executor", name, False, plain(error.detail or error.summary()))
    return Missing("executor", name, True, "")


def level_facts(policy: LevelPolicy) -> dict[str, Any]:
    """A level as JSON values."""
    bounds = policy.numbers
    return {
        "level": policy.level.value,
        "title": policy.title,
        "evidence": sorted(policy.evidence),
        "needs_measurement": policy.needs_measurement,
        "code": policy.code.value,
        "network": policy.network.value,
        "pads_inputs": policy.pads_inputs,
        "pads_outputs": policy.pads_outputs,
        "output_types": [each.value for each in OutputType if policy.free_outputs or not each.is_free],
        "numbers": None
        if bounds is None
        else {"decimals": bounds.decimals, "digits": bounds.digits, "most": bounds.most},
        "most_runs": policy.most_runs,
        "host_sees_logs": policy.host_sees_logs,
        "executors": list(policy.executors),
        "demands": policy.demands,
        "allows": policy.allows,
        "protects_from": policy.protects_from,
        "does_not_protect_from": policy.does_not_protect_from,
    }
