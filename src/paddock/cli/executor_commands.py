"""The commands below `paddock executor`: what starts enclaves here, and what must be built for it first."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from paddock.attest import NO_ATTESTER
from paddock.cli.options import JsonOption
from paddock.cli.output import notice, plain, say, say_json, table, working
from paddock.errors import ExecutorFailed
from paddock.executors import (
    Buildable,
    Executor,
    Registers,
    TellsRegisters,
    load_plugin,
    make_executor,
    plugin_names,
    read_settings,
)

EXECUTORS, BUILDERS = "paddock.executors", "paddock.builders"
executor = typer.Typer(no_args_is_help=True, help="What starts enclaves, and what must be built for it first.")
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="An executor, e.g. gramine (see executor list).")]
OptionOption = Annotated[
    list[str] | None,
    typer.Option("--option", "-o", metavar="NAME=VALUE", help="A setting of it, any number of times."),
]


@executor.command("list")
def executor_list(json_output: JsonOption = False) -> None:
    """List the executors, what can be built for each, and the settings that starting and building take.

    Example: paddock executor list
    """
    starting, building = plugin_names(EXECUTORS), plugin_names(BUILDERS)
    found = {name: _facts(name, name in starting, name in building) for name in sorted({*starting, *building})}
    if json_output:
        say_json(found)
        return
    rows = [(name, "yes" if row["starts"] else "no", row["about"], row["builds"] or "-") for name, row in found.items()]
    table("", ["executor", "starts runs", "what it is", "what is built for it"], rows)
    for name, row in found.items():
        for title, option, settings in (
            (f"paddock executor build {name}", "--option", row["settings"]),
            (f"paddock serve --executor {name}", "--executor-option", row["options"]),
        ):
            if settings:
                table(title, [option, "what it means"], sorted(settings.items()))


@executor.command("describe")
def executor_describe(name: NameArgument, option: OptionOption = None, json_output: JsonOption = False) -> None:
    """Print what would describe the environment (manifest, template, unit…), and write nothing.

    Example: paddock executor describe gramine
    """
    files = _builder(name).describe(read_settings(option or []))
    if json_output:
        say_json(dict(files))
        return
    for path, text in files.items():
        say(f"[bold]{plain(path)}[/]")
        typer.echo(text)


@executor.command("build")
def executor_build(
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(help="A new or empty folder.")],
    option: OptionOption = None,
    json_output: JsonOption = False,
) -> None:
    """Build an executor's environment from the runtime that is installed here.

    Example: paddock executor build gramine image
    """
    settings = read_settings(option or [])
    with working("building", quiet=json_output):
        built = _builder(name).build(folder.expanduser().resolve(), settings, lambda _text: None)
    if json_output:
        say_json({"files": list(built.files), "measurement": built.measurement, "notes": list(built.notes)})
        return
    say(f"Built into {plain(folder)}: {len(built.files)} files.")
    if built.measurement is not None:
        say(f"measurement for contracts: {built.measurement}")
    for note in built.notes:
        say(plain(note))


@executor.command("measure")
def executor_measure(name: NameArgument, option: OptionOption = None, json_output: JsonOption = False) -> None:
    """Say which measurement an enclave that is started this way reports: contracts name it.

    Of machines it says which registers are behind it. Where one cannot be computed it says which ones are, and fails.

    Example: paddock executor measure gramine --option image=image
    """
    made, told = _executor(name, option), None
    with working("measuring", quiet=json_output):
        if isinstance(made, TellsRegisters):
            told = made.registers()
            measurement = None if told.missing else told.measurement()
        else:
            measurement = made.measure()
    if json_output:
        shown = {} if told is None else _facts_of(told)
        say_json({"executor": name, "measurement": measurement, **shown})
    elif told is not None:
        _show_registers(told)
    if measurement is None:
        raise typer.Exit(ExecutorFailed.exit_code)
    if not json_output:
        say(measurement)


def _facts_of(told: Registers) -> dict[str, Any]:
    registers = {"computed": dict(told.computed), "told": dict(told.told), "missing": dict(told.missing)}
    return {"provider": told.provider, **registers}


def _show_registers(told: Registers) -> None:
    for register, value in sorted(told.computed.items()):
        notice(f"{plain(told.provider)} {plain(register)} {value}")
    for register, value in sorted(told.told.items()):
        notice(f"[yellow]{plain(told.provider)} {plain(register)} {value} is what a start told: nothing computed it[/]")
    for register, where in told.missing.items():
        notice(f"[yellow]{plain(told.provider)} {plain(register)} is not computed: {plain(where)}[/]")
    if told.missing:
        notice("[yellow]There is no measurement without it.[/]")


@executor.command("check")
def executor_check(name: NameArgument, option: OptionOption = None, json_output: JsonOption = False) -> None:
    """Check whether this machine can start enclaves this way; what is missing is the error.

    Example: paddock executor check process
    """
    _executor(name, option).prepare()
    say_json({"executor": name, "ready": True}) if json_output else say(f"'{plain(name)}' can start enclaves here.")


def _builder(name: str) -> Buildable:
    made: Buildable = load_plugin(BUILDERS, name)()
    return made


def _executor(name: str, option: list[str] | None) -> Executor:
    return make_executor(name, attester=NO_ATTESTER, settings=read_settings(option or []))


def _facts(name: str, starts: bool, builds: bool) -> dict[str, Any]:
    factory = load_plugin(EXECUTORS, name) if starts else None
    about = "" if factory is None else inspect.getdoc(factory) or ""
    built = _builder(name) if builds else None
    return {
        "starts": starts,
        "about": about.partition("\n")[0],
        "builds": None if built is None else built.about,
        "settings": {} if built is None else dict(built.settings),
        "options": dict(getattr(factory, "SETTINGS", {})),
    }
