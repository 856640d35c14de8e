"""The command line's list of commands is what the commands themselves say, and needs none of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from paddock.cli.lazy import Later
from paddock.cli.main import app
from tests.fixtures.command import paddock

_GROUP = typer.main.get_group(app)
_KNOWN = _GROUP.later  # type: ignore[attr-defined]


@pytest.mark.parametrize("later", _KNOWN, ids=lambda later: later.name)
def test_a_command_in_the_list_says_what_the_command_itself_says(later: Later) -> None:
    command = _GROUP.commands[later.name]
    assert later.about == " ".join((command.help or "").split("\n\n")[0].split())
    assert getattr(command, "rich_help_panel", None) == later.panel
    assert command.name == later.name


def test_help_lists_every_command_and_loads_none() -> None:
    code = (
        "import sys; sys.argv = ['paddock', '--help']\n"
        "from paddock.cli.main import main\n"
        "try:\n    main()\n"
        "finally:\n    print([name for name in sys.modules if name.endswith(('_command', '_commands')) or name == 'httpx'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.rstrip().endswith("[]")
    for later in _KNOWN:
        assert f" {later.name} " in done.stdout


def test_groups_hold_what_several_modules_add() -> None:
    for group, command in (("hub", "trust"), ("keeper", "serve"), ("keeper", "trust"), ("party", "keys")):
        assert command in _GROUP.commands[group].commands  # type: ignore[attr-defined]


def test_a_word_that_is_no_command_is_told_with_what_was_meant() -> None:
    done = paddock("contrat")
    assert done.code == 2
    assert "Did you mean 'contract'" in done.err


def test_a_lazy_group_lists_names_for_completion_without_loading() -> None:
    group = typer.main.get_group(app)
    context = typer.Context(group)
    assert {"contract"} <= {item.value for item in group.shell_complete(context, "contr")}
    assert group.commands._loaded == {}  # type: ignore[attr-defined]
