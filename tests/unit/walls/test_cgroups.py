"""Control groups of both versions, on trees of files that stand in for the kernel's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paddock.walls import cgroups
from paddock.walls.cgroups import ControlGroup, make_group
from tests.fixtures.walled import SMALL


def test_version_1_has_a_folder_for_each_controller(tmp_path: Path) -> None:
    (tmp_path / "memory" / "service").mkdir(parents=True)
    (tmp_path / "pids" / "service").mkdir(parents=True)
    group = make_group(SMALL, tmp_path, "4:memory:/service\n8:pids:/service\n1:cpu:/\n0::/\n")
    assert group is not None
    memory, pids = group.folders
    assert (memory.parent, pids.parent) == (tmp_path / "memory" / "service", tmp_path / "pids" / "service")
    assert (memory / "memory.limit_in_bytes").read_text() == str(SMALL.memory_bytes)
    assert int((pids / "pids.max").read_text()) >= SMALL.processes
    assert group.joined_by() == [f"{memory}/cgroup.procs", f"{pids}/cgroup.procs"]


def _version_2(root: Path, controllers: str) -> ControlGroup | None:
    (root / "system" / "paddock.service" / "service").mkdir(parents=True)
    (root / "system" / "paddock.service" / "cgroup.subtree_control").write_text(controllers)
    return make_group(SMALL, root, "0::/system/paddock.service/service\n")


def test_version_2_stands_beside_the_supervisors_own(tmp_path: Path) -> None:
    group = _version_2(tmp_path, "cpu memory pids\n")
    assert group is not None
    (folder,) = group.folders
    assert folder.parent == tmp_path / "system" / "paddock.service"
    assert (folder / "memory.max").read_text() == str(SMALL.memory_bytes)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert int((folder / "pids.max").read_text()) >= SMALL.processes


def test_version_2_without_controllers_gives_none(tmp_path: Path) -> None:
    assert _version_2(tmp_path, "cpu\n") is None


def test_what_cannot_be_made_whole_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    assert make_group(SMALL, tmp_path, "4:memory:/\n8:pids:/\n") is None
    assert make_group(SMALL, tmp_path, "") is None


def test_a_group_that_does_not_bound_memory_is_none(tmp_path: Path) -> None:
    """Else nobody would look at the memory of the whole job."""
    (tmp_path / "pids").mkdir()
    assert make_group(SMALL, tmp_path, "8:pids:/\n0::/\n") is None
    assert not list((tmp_path / "pids").iterdir())


def test_controllers_may_share_one_tree(tmp_path: Path) -> None:
    (tmp_path / "memory,pids").mkdir()
    group = make_group(SMALL, tmp_path, "4:memory,pids:/\n")
    assert group is not None
    (folder,) = group.folders
    assert (folder / "memory.limit_in_bytes").read_text() == str(SMALL.memory_bytes)
    assert int((folder / "pids.max").read_text()) >= SMALL.processes


def test_the_kernels_word_of_memory_is_read_in_both_versions(tmp_path: Path) -> None:
    for name, text, ended in (
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", True),
        ("memory.events", "low 0\noom 1\noom_kill 0\n", False),
        ("memory.events", "low 0\noom 1\noom_kill 1\n", True),
    ):
        folder = tmp_path / f"{name}-{ended}"
        folder.mkdir()
        (folder / name).write_text(text)
        assert ControlGroup((folder,)).memory_ran_out() is ended


def test_groups_of_killed_supervisors_are_removed(tmp_path: Path) -> None:
    for name in ("memory", "pids"):
        (tmp_path / name / "paddock-999999999-00000000").mkdir(parents=True)
        (tmp_path / name / "paddock-1-00000000").mkdir()
    make_group(SMALL, tmp_path, "4:memory:/\n8:pids:/\n")
    assert not list(tmp_path.glob("*/paddock-999999999-*"))
    assert len(list(tmp_path.glob("*/paddock-1-*"))) == 2


@pytest.mark.parametrize(("areas", "is_made"), [("", True), ("/swap file 100 0 -2\n", False)])
def test_a_group_that_cannot_keep_a_job_from_swap_is_none_where_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, areas: str, is_made: bool
) -> None:
    write = Path.write_text

    def written(path: Path, *arguments: Any, **named: Any) -> int:
        if path.name == "memory.swap.max":
            raise FileNotFoundError(path)
        return write(path, *arguments, **named)

    monkeypatch.setattr(Path, "write_text", written)
    monkeypatch.setattr(cgroups, "_SWAPS", tmp_path / "swaps")
    (tmp_path / "swaps").write_text(f"Filename Type Size Used Priority\n{areas}")
    assert (_version_2(tmp_path, "memory pids\n") is not None) is is_made
