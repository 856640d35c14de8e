"""The commands of README.md and of the guides below docs/ do what they say."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.docs.terminals import Block, BlockFailed, blocks, play

_ROOT = Path(__file__).resolve().parents[2]
_BLOCK_SECONDS = 180.0


def _stories() -> dict[str, list[Block]]:
    stories: dict[str, list[Block]] = {}
    for path in (_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))):
        for block in blocks(path.read_text(encoding="utf-8")):
            stories.setdefault(f"{path.stem}:{block.name}", []).append(block)
    return stories


def _environment(home: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    kept = {name: value for name, value in os.environ.items() if name in {"LANG", "LC_ALL", "LD_LIBRARY_PATH"}}
    return kept | {"PATH": path, "HOME": str(home), "COLUMNS": "120"}


@pytest.mark.parametrize("name", sorted(_stories()))
def test_a_marked_story_runs_from_its_first_block_to_its_last(name: str, tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(_ROOT / "tests")  # stories play in the folder of a clone, and leave nothing in it
    play(_stories()[name], tmp_path, _environment(tmp_path), block_seconds=_BLOCK_SECONDS)


def test_the_readme_has_a_story() -> None:
    assert any(name.startswith("README:") for name in _stories())


_DOCUMENT = """
<!-- test: two -->
```sh
word=first
sleep 60 &
echo $! > sleeper
```

<!-- test: two terminal=other -->

```console
$ test -z "$word" && echo \\
>   other
an answer that is not run
```

<!-- test: two -->
```console
$ cat; echo "$word"
```

```sh
exit 9
```
"""


def _state_of(pid: str) -> str:
    """The letter of a process's state (proc(5)); empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def test_terminals_keep_their_state_and_leave_nothing_running(tmp_path: Path) -> None:
    story = blocks(_DOCUMENT)
    assert [block.terminal for block in story] == ["1", "other", "1"]
    printed = play(story, tmp_path, _environment(tmp_path), block_seconds=30)
    assert printed.split() == ["other", "first"]
    sleeper = (tmp_path / "sleeper").read_text(encoding="ascii").strip()
    assert not _alive(sleeper)
    assert [path.name for path in tmp_path.iterdir()] == ["sleeper"]


@pytest.mark.parametrize(
    ("script", "seconds", "message"),
    [("echo before\nfalse\necho after\n", 30, "fails"), ("sleep 60\n", 0.2, "not end")],
)
def test_a_block_that_fails_or_does_not_end_fails_the_story(
    script: str, seconds: float, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BlockFailed, match=message) as caught:
        play([Block("x", "1", script)], tmp_path, _environment(tmp_path), block_seconds=seconds)
    assert "after" not in str(caught.value).partition("--- printed ---")[2]


@pytest.mark.parametrize("text", ["<!-- test: x -->\nno block", "<!-- test: x -->\n```python\npass\n```\n"])
def test_a_mark_without_a_block_of_commands_is_a_fault(text: str) -> None:
    with pytest.raises(ValueError, match=r"blocks after|sh or console"):
        blocks(text)


def _alive(pid: str) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        state = _state_of(pid)
        if not state.strip() or state.startswith("Z"):
            return False
        time.sleep(0.05)
    return True
