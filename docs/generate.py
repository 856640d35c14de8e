"""Writes the documents that are made from the code; `python -m docs.generate [--check]`.

With `--check` nothing is written: a document that is not what the code says ends the program with 1.
"""

from __future__ import annotations

import argparse
import enum
import importlib.util
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paddock.contract.levels import Numbers

_DOCS = Path(__file__).resolve().parent
_MADE = "<!-- Made by `make docs` from {source}. Change it there. -->"


def errors() -> str:
    """docs/errors.md: every error code, by branch of the tree."""
    from paddock.errors import CATALOGUE, Misconfigured, PaddockError, Refused, Unavailable

    branches: tuple[tuple[type[PaddockError], str], ...] = (
        (
            Refused,
            "What somebody handed in did not pass a check. Trying again without a change will not help.",
        ),
        (Unavailable, "Something outside the process did not answer. Trying again may help."),
        (Misconfigured, "A setting, file or path on this machine is wrong. Its owner can put it right."),
    )
    lines = [
        "# Errors",
        "",
        _MADE.format(source="src/paddock/errors.py"),
        "",
        "Every error has a code that stays the same, says what happened and what to do, and belongs to the branch of",
        "whoever must act. With `--json` a command prints it as an object with `code`, `branch`, `message`, `detail`",
        "and `action`; services answer with the same object. No message holds a secret.",
    ]
    for branch, meaning in branches:
        lines += ["", f"## {branch.__name__}: exit code {branch.exit_code}", "", meaning, ""]
        lines += ["| code | name | what happened | what to do |", "| --- | --- | --- | --- |"]
        for code, cls in sorted(CATALOGUE.items()):
            if issubclass(cls, branch):
                cells = (f"`{code}`", cls.__name__, cls.summary(), cls.action)
                lines.append(f"| {' | '.join(map(_cell, cells))} |")
    return _joined(lines)


def levels() -> str:
    """docs/levels.md: the security levels, from the table that keepers enforce."""
    from paddock.contract.levels import LEVELS

    lines = [
        "# Security levels",
        "",
        _MADE.format(source="src/paddock/contract/levels.py"),
        "",
        "A contract names one level; without a word it is L5. The level is part of the bytes that every party signs.",
        "Each keeper enforces this table before it releases a key, and the enclave before it starts a job.",
        "",
        "| level | in short | evidence that is demanded | what may run |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {policy.level} | {_cell(policy.title)} | {_cell(policy.demands)} | {_cell(policy.allows)} |"
        for policy in LEVELS.values()
    ]
    for policy in LEVELS.values():
        kinds = ", ".join(sorted(f"`{kind}`" for kind in policy.evidence))
        lines += [
            "",
            f"## {policy.level}: {policy.title}",
            "",
            f"- Protects from: {policy.protects_from}",
            f"- **Does not protect from:** {policy.does_not_protect_from}",
            f"- Evidence accepted: {kinds}",
            f"- Measurement named in the contract: {_yes(policy.needs_measurement)}",
            f"- Code: {policy.code}; network of the job: {policy.network}",
            f"- Only padded inputs taken: {_yes(policy.pads_inputs)}; sizes of outputs padded: {_yes(policy.pads_outputs)}",
            f"- Outputs of free text or any files: {_yes(policy.free_outputs)}",
            f"- Numbers that leave in metrics, curves and live progress: {_numbers(policy.numbers)}",
            f"- Runs of a contract: at most {policy.most_runs:,}",
            f"- A job's own words reach the host: {_yes(policy.host_sees_logs)}",
            f"- Executors that give it: {', '.join(f'`{name}`' for name in policy.executors)}",
        ]
    return _joined(lines)


def _numbers(bounds: Numbers | None) -> str:
    if bounds is None:
        return "bounded by the sizes of outputs"
    return f"{bounds.decimals} decimals, {bounds.digits} digits, at most {bounds.most:,} in a run"


def refusals() -> str:
    """docs/refusals.md: what each vendor's evidence is refused for; every cell is tried by tests/evidence."""
    from tests.evidence import matrix

    table = {vendor: matrix.refusals(vendor) for vendor in matrix.VENDORS}
    samples = {vendor: matrix.samples(vendor) for vendor in matrix.VENDORS}
    lines = [
        "# What evidence is refused for",
        "",
        _MADE.format(source="tests/evidence"),
        "",
        "Genuine evidence of each vendor, spoilt in each of these ways, is refused by the error that stands in the cell.",
        "A number is the reason for which there is no such case. `tests/evidence/test_refusals.py` tries every cell.",
        "",
        f"| | {' | '.join(matrix.VENDORS)} |",
        f"| --- |{' --- |' * len(matrix.VENDORS)}",
    ]
    reasons: dict[str, int] = {}
    for kind, meaning in matrix.KINDS.items():
        cells = []
        for vendor in matrix.VENDORS:
            found = table[vendor][kind]
            if isinstance(found, str):
                cells.append(f"[{reasons.setdefault(found, len(reasons) + 1)}]")
            else:
                cells.append(" ".join(dict.fromkeys(f"`{error.code.removeprefix('E-')}`" for error in found)))
        lines.append(f"| {meaning} | {' | '.join(cells)} |")
    lines += ["", "Codes are those of [errors.md](errors.md), without `E-`.", ""]
    lines += [f"{number}. {reason}" for reason, number in reasons.items()]
    lines += ["", "Evidence that is tried:", ""]
    lines += [f"- {vendor}: {', '.join(sample.name for sample in samples[vendor])}" for vendor in matrix.VENDORS]
    return _joined(lines)


def attacks() -> str:
    """docs/attacks.md: what is tried, by whom, at which level, and what stops it; every cell is tried by tests/attacks."""
    from tests.attacks.page import write_page

    return _joined(write_page(_MADE.format(source="tests/attacks")))


def cli() -> str:
    """docs/reference/cli.md: every command with its arguments and options."""
    import typer

    from paddock.cli.main import app

    lines = [
        "# Commands",
        "",
        _MADE.format(source="src/paddock/cli/"),
        "",
        "`paddock COMMAND --help` says the same. Exit codes: 0 done, 2 the command line is wrong; the others are in",
        "[errors.md](../errors.md).",
    ]
    for path, command in commands(typer.main.get_command(app), "paddock"):
        lines += ["", f"## `{path}`", "", _paragraph(command.help)]
        rows = [_parameter(parameter) for parameter in command.params if not getattr(parameter, "hidden", False)]
        if rows:
            lines += ["", "| argument or option | what it is | default |", "| --- | --- | --- |", *rows]
    return _joined(lines)


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A command line's commands, hidden ones left out, each with the words that call it."""
    yield path, command
    for name, child in sorted(getattr(command, "commands", {}).items()):
        if not child.hidden:
            yield from commands(child, f"{path} {name}")


_Generator = Callable[[], str]
DOCUMENTS: dict[str, tuple[str, _Generator]] = {
    "attacks.md": ("tests.attacks.catalogue", attacks),
    "errors.md": ("paddock.errors", errors),
    "levels.md": ("paddock.contract.levels", levels),
    "reference/cli.md": ("paddock.cli.main", cli),
    "refusals.md": ("tests.evidence.matrix", refusals),
}
"""Path below docs/, the module that must exist, and what writes the text."""


def main(arguments: list[str] | None = None) -> int:
    """Write, or with `--check` compare, every document."""
    parser = argparse.ArgumentParser(prog="docs.generate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if a document is stale")
    check = parser.parse_args(arguments).check
    stale = [name for name, text in texts() if _differs(_DOCS / name, text)]
    for name, text in texts():
        if name not in stale:
            continue
        if check:
            print(f"docs/{name} is not what the code says; run `make docs`")
        else:
            path = _DOCS / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote docs/{name}")
    return 1 if check and stale else 0


def texts() -> Iterator[tuple[str, str]]:
    """Every document that can be made, as path below docs/ and text."""
    for name, (module, generate) in DOCUMENTS.items():
        if _exists(module):
            yield name, generate()
        else:
            print(f"docs/{name} is left out: there is no {module}")


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _differs(path: Path, text: str) -> bool:
    return not path.is_file() or path.read_text(encoding="utf-8") != text


def _parameter(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        shown = f"`{str(parameter.opts[0]).upper()}`"
    else:
        shown = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
        if not parameter.is_flag:
            shown += f" {_kind(parameter)}"
    default = "required" if parameter.required else _default(parameter.default)
    return f"| {_cell(shown)} | {_cell(getattr(parameter, 'help', '') or '')} | {_cell(default)} |"


def _kind(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return "one of " + ", ".join(f"`{member.value}`" for member in annotation)
    names = [getattr(each, "__name__", "") for each in (typing.get_args(annotation) or (annotation,))]
    return str(parameter.metavar or " or ".join(name for name in names if name != "NoneType")).upper()


def _default(default: object) -> str:
    if default is None or callable(default) or isinstance(default, bool) or default in ("", (), []):
        return ""
    value = getattr(default, "value", default)
    # A home folder belongs to whoever runs the generator.
    return f"`{str(value).replace(str(Path.home()), '~')}`"


def _paragraph(text: object) -> str:
    return "\n".join(line.strip() for line in str(text or "").replace("\f", "").strip().splitlines())


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _joined(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
