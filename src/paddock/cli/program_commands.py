"""The commands below `paddock program`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paddock.cli.options import JsonOption
from paddock.cli.output import plain, say, say_json, table, working

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
    from paddock.jobs.export import check_program_folder, export_layer, load_user_layer, parse_input  # noqa: PLC0415 - heavy: loaded by those who need it

    with working("exporting with PaddlePaddle", quiet=json_output):
        export_layer(load_user_layer(network), [parse_input(text) for text in inputs], output)
        report = check_program_folder(output)
    say_json(report.to_dict()) if json_output else say(f"Exported to {output}: {plain(report.summary())}")


@program.command("check")
def program_check(
    folder: Annotated[Path, typer.Argument(help="Folder with program.json and weights.safetensors.")],
    json_output: JsonOption = False,
) -> None:
    """Check a program before you seal it: every operator, attribute and shape, as the enclave will.

    Example: paddock program check net
    """
    from paddock.jobs.export import check_program_folder  # noqa: PLC0415 - heavy: loaded by those who need it

    report = check_program_folder(folder)
    if json_output:
        say_json(report.to_dict())
        return
    say(f"Fit to be sealed: {plain(report.summary())}")
    table("", ["operator", "times"], [(name, str(count)) for name, count in sorted(report.operators.items())])
