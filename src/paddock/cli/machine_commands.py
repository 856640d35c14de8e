"""The commands that look at this machine, the levels and the kinds of jobs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from paddock.cli.doctor import examine
from paddock.cli.options import JsonOption
from paddock.cli.output import notice, say, say_json, table, working
from paddock.contract.levels import LEVELS, Level, LevelPolicy
from paddock.evidence.measurement import measure_runtime
from paddock.jobs.registry import job_kind, job_kinds

level = typer.Typer(no_args_is_help=True, help="The five security levels.")
job = typer.Typer(no_args_is_help=True, help="What can run inside.")


def measure(
    detail: Annotated[bool, typer.Option("--detail", help="List every distribution's digest.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Measure the runtime installed here: the same on every machine with the same lock file and Python.

    Example: paddock measure
    """
    with working("measuring the runtime", quiet=json_output):
        measured = measure_runtime()
    if json_output:
        say_json(measured.to_dict())
        return
    if detail:
        rows = [(name, row["version"], row["digest"]) for name, row in measured.distributions.items()]
        table("", ["distribution", "version", "digest of its files"], rows)
    say(f"{measured.digest}\n{measured.python}, {len(measured.distributions)} distributions (--detail lists them)")


def doctor(json_output: JsonOption = False) -> None:
    """Show what this machine can do, and what to install for more.

    Example: paddock doctor
    """
    findings = examine()
    if json_output:
        say_json([asdict(finding) for finding in findings])
    else:
        marks = {True: "yes", False: "NO", None: "-"}
        rows = [(f.area, f.name, marks[f.ok], f.found, f.advice) for f in findings]
        table("", ["area", "what", "ok", "found", "advice"], rows)
    if any(finding.ok is False for finding in findings):
        notice("Something that Paddock needs is missing.")
        raise typer.Exit(5)


@level.command("explain")
def level_explain(
    which: Annotated[Level, typer.Argument(metavar="LEVEL", help="L1 to L5.")], json_output: JsonOption = False
) -> None:
    """Say what a level demands, allows, and does not protect from.

    Example: paddock level explain L5
    """
    policy = LEVELS[which]
    if json_output:
        say_json(level_facts(policy))
        return
    say(f"[bold]{policy.level} {policy.title}[/]")
    say(f"demands: {policy.demands}\nallows: {policy.allows}")
    say(f"protects from: {policy.protects_from}\n[bold]does not protect from:[/] {policy.does_not_protect_from}")


@job.command("list")
def job_list(json_output: JsonOption = False) -> None:
    """List the kinds of jobs.

    Example: paddock job list
    """
    kinds = {
        name: {"inputs": sorted(job_kind(name).roles), "outputs": list(job_kind(name).outputs)} for name in job_kinds()
    }
    if json_output:
        say_json(kinds)
        return
    rows = [(name, ", ".join(row["inputs"]), ", ".join(row["outputs"])) for name, row in kinds.items()]
    table("", ["kind", "inputs", "outputs"], rows)


@job.command("explain")
def job_explain(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="A kind of job, e.g. train.")],
    json_output: JsonOption = False,
) -> None:
    """Say what a kind of job takes and yields, and which parameters it knows.

    Example: paddock job explain train
    """
    known = job_kind(kind)
    schema = known.parameters_schema()
    if json_output:
        say_json({"kind": kind, "outputs": list(known.outputs), "parameters": schema})
        return
    say(f"[bold]{kind}[/]   yields: {', '.join(known.outputs)}")
    roles = [(name, "yes" if role.required else "no", role.about) for name, role in known.roles.items()]
    table("Inputs", ["role", "required", "what it is"], roles)
    rows = []
    required = schema.get("required", [])
    for name, row in schema.get("properties", {}).items():
        rows.append(
            (name, "yes" if name in required else "no", str(row.get("default", "")), str(row.get("description", "")))
        )
    table("Parameters", ["name", "required", "default", "meaning"], rows)


def level_facts(policy: LevelPolicy) -> dict[str, object]:
    """A level as JSON values."""
    return {
        "level": policy.level.value,
        "title": policy.title,
        "evidence": sorted(policy.evidence),
        "code": policy.code.value,
        "network": policy.network.value,
        "demands": policy.demands,
        "allows": policy.allows,
        "protects_from": policy.protects_from,
        "does_not_protect_from": policy.does_not_protect_from,
    }
