"""What a script left behind is collected as plain files, and nothing is followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from paddock.errors import OutputRefused
from paddock.jobs.script_run import _files


def test_files_of_all_folders_are_found(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()
    assert _files(tmp_path) == {"a/b/c": tmp_path / "a" / "b" / "c"}


def test_an_output_that_is_a_link_itself_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "output").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputRefused, match="'output' is a link"):
        _files(tmp_path / "output")


def test_links_and_pipes_in_it_are_refused(tmp_path: Path) -> None:
    for make in (lambda path: path.symlink_to("/etc/passwd"), lambda path: path.symlink_to("/etc"), os.mkfifo):
        make(tmp_path / "strange")
        with pytest.raises(OutputRefused, match="holds a link"):
            _files(tmp_path)
        (tmp_path / "strange").unlink()
