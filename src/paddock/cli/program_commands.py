"""The commands below `paddock program`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paddock.cli.options import JsonOption
from paddock.cli.output import plain, say, say_json, table, working
from paddock.errors import ProgramRefused

if TYPE_CHECKING:
    from paddock.jobs.checking import ProgramReport
    from paddock.program import Refusal

program = typer.Typer(no_args_is_help=True, help="Networks as sealed programs.")


@program.command("export")
def program_export(
    network: Annotated[str, typer.Argument(metavar="FILE.py:CLASS", help="Your own paddle.nn.Layer.")],
    inputs: Annotated[list[str], typer.Option("--input", help="name:dtype[shape], e.g. x:float32[-1,30]; in order.")],
    output: Annotated[Path, typer.Option(help="Folder for program.json and weights.safetensors.")],
    json_output: JsonOption = False,
) -> None:
    """Export your own network: its graph and its initial weights. Your Python stays with you.

    Example: paddock program export net.py:Net --input 'x:float32[-1,30]' --output net
    """
    from paddock.jobs.checking import check_program_folder  # noqa: PLC0415 - numpy: loaded by those who need it
    from paddock.jobs.export import export_layer, load_user_layer, parse_input  # noqa: PLC0415 - heavy: loaded by those who need it

    with working("exporting with PaddlePaddle", quiet=json_output):
        export_layer(load_user_layer(network), [parse_input(text) for text in inputs], output)
        report = check_program_folder(output)
    say_json(report.to_dict()) if json_output else say(f"Exported to {output}: {plain(report.summary())}")


@program.command("check")
def program_check(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="The .json that paddle.jit.save wrote, or a folder with program and weights."
        ),
    ],
    batch_size: Annotated[int, typer.Option(min=1, max=1 << 20, help="Samples per step, for the memory bounds.")] = 32,
    json_output: JsonOption = False,
) -> None:
    """Check a program before you seal it: every operator, attribute and shape, as the enclave will.

    Ends with 3 if it is refused, and then names every place, the layer that it came from, and what to do instead.

    Example: paddock program check net
    """
    from paddock.jobs.checking import check_program  # noqa: PLC0415 - numpy: loaded by those who need it

    report, refusals = check_program(path, batch_size)
    if json_output:
        about = {"fit": report is not None, "refusals": [asdict(each) for each in refusals]}
        say_json(about if report is None else {**about, **report.to_dict()})
    elif report is not None:
        _show_report(report)
    else:
        _show_refusals(refusals)
    if report is None:
        raise typer.Exit(ProgramRefused.exit_code)


def _show_report(report: ProgramReport) -> None:
    say(f"Fit to be sealed: {plain(report.summary())}")
    mebi = 1 << 20
    say(
        f"At most {report.training_memory / mebi:,.1f} MiB for a step of training with {report.batch_size} samples, "
        f"{report.evaluation_memory / mebi:,.1f} MiB for evaluation; {report.work:,} multiplications for a sample."
    )
    if not report.weights_checked:
        say("The file alone was checked. Its weights travel as safetensors: make both with paddock program export.")
    table("", ["operator", "times"], [(name, str(count)) for name, count in sorted(report.operators.items())])


def _show_refusals(refusals: Sequence[Refusal]) -> None:
    say(f"[red]Refused[/] at {len(refusals)} {'place' if len(refusals) == 1 else 'places'}:")
    for each in refusals:
        where = f"{each.operator} at op {each.place}" if each.operator else "the program"
        layer = f", in {each.layer}" if each.layer.strip("/") else ""
        say(f"[bold]{plain(where)}[/]{plain(layer)} ({each.code})")
        say(f"  {plain(each.why)}")
        say(f"  -> {plain(each.instead)}")
