"""The user that a job of root's becomes, in maps of containers and of the machine itself."""

from __future__ import annotations

import os

import pytest

from paddock.errors import WallsUnavailable
from paddock.walls import users


def _map(monkeypatch: pytest.MonkeyPatch, of_users: list[range], of_groups: list[range]) -> None:
    monkeypatch.setattr(users, "_mapped", {"uid_map": of_users, "gid_map": of_groups}.__getitem__)


def test_on_the_machine_itself_it_is_a_number_far_from_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    _map(monkeypatch, [range(1 << 32)], [range(1 << 32)])
    assert users.job_user() >= 0x6F00_0000


def test_in_a_container_it_is_one_that_is_mapped_and_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    _map(monkeypatch, [range(65536)], [range(65530)])
    monkeypatch.setattr(users, "_is_known", lambda number: number % 2 == 0)
    monkeypatch.setattr(os, "getpid", lambda: 0)
    assert users.job_user() == 65529


@pytest.mark.parametrize("numbers", [[], [range(1)], [range(1000)], [range(65534, 65536)]])
def test_without_one_there_are_no_walls(monkeypatch: pytest.MonkeyPatch, numbers: list[range]) -> None:
    _map(monkeypatch, numbers, numbers)
    with pytest.raises(WallsUnavailable, match="no number"):
        users.job_user()
