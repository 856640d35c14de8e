"""The commands that look at this machine and the kinds of jobs."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated

import typer

from paddock.cli.doctor import examine
from paddock.cli.options import JsonOption
from paddock.cli.output import notice, plain, say, say_json, table, working
from paddock.cli.registers import register_faults
from paddock.evidence.claims import registers_digest, registers_text
from paddock.evidence.measurement import measure_runtime
from paddock.evidence.provider import installed_providers
from paddock.jobs.registry import job_kind, job_kinds

job = typer.Typer(no_args_is_help=True, help="What can run inside.")
_PROVIDER, _REGISTER = re.compile(r"[a-z][a-z0-9-]{0,31}"), re.compile(r"[a-z][a-z0-9_:.-]{0,63}")
_HEX = re.compile(r"(?:[0-9A-Fa-f]{2}){1,256}")


def measure(
    values: Annotated[
        list[str] | None, typer.Argument(metavar="NAME=HEX", help="With --registers: every register of the platform.")
    ] = None,
    registers: Annotated[
        str | None,
        typer.Option(metavar="PROVIDER", help="Compute a platform's measurement from its registers instead, e.g. tdx."),
    ] = None,
    detail: Annotated[bool, typer.Option("--detail", help="List every distribution's digest.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Measure the runtime installed here: the same on every machine with the same lock file and Python.

    With --registers it is the measurement of hardware evidence: one digest over all the vendor's registers, with what
    anybody needs to compute it again.

    Example: paddock measure --registers sgx mrenclave=33d8736d…
    """
    if registers is not None:
        _measure_registers(registers, values or [], json_output=json_output)
        return
    if values:
        raise typer.BadParameter("registers are named together with --registers PROVIDER", param_hint="NAME=HEX")
    with working("measuring the runtime", quiet=json_output):
        measured = measure_runtime()
    if json_output:
        say_json(measured.to_dict())
        return
    if detail:
        rows = [(name, row["version"], row["digest"]) for name, row in measured.distributions.items()]
        table("", ["distribution", "version", "digest of its files"], rows)
    say(f"{measured.digest}\n{measured.python}, {len(measured.distributions)} distributions (--detail lists them)")


def _measure_registers(provider: str, values: list[str], *, json_output: bool) -> None:
    found: dict[str, str] = {}
    for text in values:
        name, equals, digits = text.partition("=")
        if not (equals and _REGISTER.fullmatch(name) and _HEX.fullmatch(digits)) or name in found:
            raise typer.BadParameter(
                f"a register is written once, as NAME=HEX: {plain(text[:100])}", param_hint="NAME=HEX"
            )
        found[name] = digits.lower()
    if not found or not _PROVIDER.fullmatch(provider):
        raise typer.BadParameter("name a provider and all of its registers", param_hint="--registers")
    faults = register_faults(provider, found)
    if faults:
        raise typer.BadParameter(f"the measurement of {provider} is made of all its registers: {faults}")
    measurement = registers_digest(provider, found)
    text = registers_text(provider, found)
    rule = "SHA-256 of the canonical JSON (RFC 8785) of version, provider and registers (A-10)"
    recipe = f"printf %s '{text}' | sha256sum"
    if json_output:
        say_json({"measurement": measurement, "canonical": text, "rule": rule, "recipe": recipe})
        return
    say(f"{measurement}\n{rule}. Anybody can compute it again:")
    typer.echo(f"  {recipe}")
    if provider not in installed_providers():
        notice(f"[yellow]No provider of the name {plain(provider)} is installed.[/]")


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
