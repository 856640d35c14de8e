"""What of an installation is shown."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from paddock.walls.image import installed_image


def test_it_is_the_interpreter_its_packages_and_the_c_library() -> None:
    import paddock

    image = installed_image()
    shown = [each.source for each in image.bindings]
    for needed in (Path(sys.executable), Path(os.__file__), Path(str(paddock.__file__))):
        assert any(needed.resolve().is_relative_to(path) for path in shown), needed
    assert image.python == sys.executable


def test_nothing_of_a_home_or_of_configuration_but_these() -> None:
    home = Path("~").expanduser().resolve()
    for each in installed_image().bindings:
        assert not home.is_relative_to(each.source)
        assert each.source.parent != home
        assert each.source.parts[1] != "etc" or each.source == Path("/etc/ld.so.cache")
        assert each.source not in {Path("/"), Path("/usr"), Path("/usr/lib"), Path("/usr/bin"), Path("/lib")}


def test_no_folder_is_bound_within_another() -> None:
    shown = [each.target for each in installed_image().bindings]
    assert not [(a, b) for a in shown for b in shown if a != b and a.is_relative_to(b)]
