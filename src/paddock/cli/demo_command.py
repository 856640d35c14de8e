"""The command `paddock demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paddock.cli.options import JsonOption
from paddock.cli.output import say_json
from paddock.errors import DemoUnknown

NAMES = ("tumour", "attacks")


def demo(
    name: Annotated[str, typer.Argument(help=f"Which one: {', '.join(NAMES)}.")] = NAMES[0],
    home: Annotated[
        Path | None,
        typer.Option(help="New folder for everything it makes.", show_default="the first free paddock-demo-N"),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, max=1000, help="Epochs of training, for tumour.")] = 30,
    json_output: JsonOption = False,
) -> None:
    """Watch five parties train a tumour classifier on records that nobody sees, and three frauds refused; or, with
    `attacks`, what hosts, hubs, stores, parties, developers and jobs try on this machine, and what refuses each.

    Example: paddock demo attacks
    """
    if name not in NAMES:
        raise DemoUnknown(f"There is none named '{name}'; there is: {', '.join(NAMES)}.")
    # Imported late: they need numpy, matplotlib and, inside the run, PaddlePaddle.
    if name == "attacks":
        from paddock.cli.demo import attacks  # noqa: PLC0415 - heavy: loaded by those who need it

        outcome = attacks.play(home or _free_folder(), quiet=json_output)
    else:
        from paddock.cli.demo import tumour  # noqa: PLC0415 - as above

        outcome = tumour.play(home or _free_folder(), epochs=epochs, quiet=json_output)
    if json_output:
        say_json(outcome)


def _free_folder() -> Path:
    number = 1
    while (folder := Path(f"paddock-demo-{number}")).exists():
        number += 1
    return folder
