"""A keeper's folder: made once, opened as it was made, refused when it is not safe."""

from __future__ import annotations

from pathlib import Path

import pytest

from paddock.errors import KeeperHomeInvalid, TrustPolicyInvalid
from paddock.keeper.home import KeeperHome
from paddock.keeper.keeper import open_keeper
from tests.fixtures.cast import member

PARTY = member("north").public


def test_it_opens_as_it_was_made_and_accepts_nothing_yet(tmp_path: Path) -> None:
    made = KeeperHome.create(tmp_path / "deep" / "keeper", PARTY)
    loaded = KeeperHome.load(made.folder)
    assert loaded.keys.public() == made.keys.public()
    assert loaded.party == PARTY
    assert loaded.policy().accepts_nothing()
    for file in made.folder.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    assert made.folder.stat().st_mode & 0o077 == 0


def test_it_is_not_made_over_another(tmp_path: Path) -> None:
    KeeperHome.create(tmp_path / "keeper", PARTY)
    with pytest.raises(KeeperHomeInvalid):
        KeeperHome.create(tmp_path / "keeper", PARTY)


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    home = KeeperHome.create(tmp_path / "keeper", PARTY)
    (home.folder / "keys.json").chmod(0o640)
    with pytest.raises(KeeperHomeInvalid, match="chmod 600"):
        KeeperHome.load(home.folder)


def test_a_folder_that_lacks_or_damages_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeeperHomeInvalid):
        KeeperHome.load(tmp_path / "nowhere")
    home = KeeperHome.create(tmp_path / "keeper", PARTY)
    secret = (home.folder / "keys.json").read_text(encoding="utf-8")
    (home.folder / "keys.json").write_text(secret[:-9], encoding="utf-8")
    with pytest.raises(KeeperHomeInvalid, match="damaged") as refusal:
        KeeperHome.load(home.folder)
    assert secret[10:40] not in str(refusal.value)
    (home.folder / "keys.json").write_text(secret, encoding="utf-8")
    (home.folder / "party.json").unlink()
    with pytest.raises(KeeperHomeInvalid):
        KeeperHome.load(home.folder)


def test_without_a_readable_policy_nothing_is_decided(tmp_path: Path) -> None:
    home = KeeperHome.create(tmp_path / "keeper", PARTY)
    home.trust_file().write_text("everything = true", encoding="utf-8")
    with pytest.raises(TrustPolicyInvalid):
        home.policy()
    home.trust_file().unlink()
    with pytest.raises(KeeperHomeInvalid):
        home.policy()


def test_its_database_lives_in_the_folder(tmp_path: Path) -> None:
    home = KeeperHome.create(tmp_path / "keeper", PARTY)
    keeper = open_keeper(home)
    assert keeper.info()["party"] == PARTY.fingerprint()
    keeper.close()
    assert (home.folder / "keeper.db").stat().st_mode & 0o077 == 0
