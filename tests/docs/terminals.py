"""Runs the marked command blocks of a document, each terminal a shell that lives on.

A block is marked by the comment before it, `<!-- test: NAME -->` or `<!-- test: NAME terminal=north -->`. All blocks of a
NAME are run in their order, in one folder. In a `console` block the lines after `$ ` (and `> `) are run; an `sh` block
is run whole. A command that fails, or a block that does not end, fails the test.
"""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^<!-- test: (?P<name>[\w-]+)(?: terminal=(?P<terminal>[\w-]+))? -->\n+```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_MARK = re.compile(r"^<!-- test:.*$", re.MULTILINE)


class BlockFailed(AssertionError):
    """A block ended with an error, or not at all."""


@dataclass(frozen=True)
class Block:
    """One marked block: which story it belongs to, which terminal it is typed into, and what is typed."""

    name: str
    terminal: str
    script: str


def blocks(document: str) -> list[Block]:
    """The marked blocks in order; a mark that no block follows is a fault of the document."""
    found = [
        Block(match["name"], match["terminal"] or "1", _script(match["kind"], match["text"]))
        for match in _BLOCK.finditer(document)
    ]
    marks = _MARK.findall(document)
    if len(marks) != len(found):
        raise ValueError(f"{len(marks)} marks but {len(found)} blocks after them: {marks}")
    return found


def play(story: list[Block], folder: Path, environment: Mapping[str, str], *, block_seconds: float) -> str:
    """Run the blocks in order; returns what all terminals printed. Everything that was started is ended."""
    terminals: dict[str, _Terminal] = {}
    try:
        printed = []
        for block in story:
            if block.terminal not in terminals:
                terminals[block.terminal] = _Terminal(folder, environment)
            printed.append(terminals[block.terminal].type(block.script, block_seconds))
        return "".join(printed)
    finally:
        for terminal in terminals.values():
            terminal.close()


class _Terminal:
    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._shell = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-e"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def type(self, script: str, seconds: float) -> str:
        mark = uuid.uuid4().hex
        # The block comes from a file and its commands read nothing: the shell's own input holds what comes next.
        block = self._folder / f".block-{mark}"
        block.write_text(script, encoding="utf-8")
        assert self._shell.stdin is not None
        self._shell.stdin.write(f". ./{block.name} </dev/null\nprintf '\\n%s\\n' {mark}\n")
        self._shell.stdin.flush()
        printed: list[str] = []
        deadline = time.monotonic() + seconds
        try:
            while (line := self._lines.get(timeout=max(0.0, deadline - time.monotonic()))) is not None:
                if line.strip() == mark:
                    return "".join(printed)
                printed.append(line)
        except queue.Empty:
            raise BlockFailed(
                f"does not end within {seconds} s:\n{script}\n--- printed ---\n{''.join(printed)}"
            ) from None
        finally:
            block.unlink()
        raise BlockFailed(f"a command fails in:\n{script}\n--- printed ---\n{''.join(printed)}")

    def close(self) -> None:
        # The group is the terminal's session: its shell and whatever it left in the background.
        for number, patience_seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self._shell.pid, number)
            except ProcessLookupError:
                break
            self._wait_for_group(patience_seconds)
        self._shell.wait()
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.close()

    def _wait_for_group(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._shell.poll()
            try:
                os.killpg(self._shell.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.02)

    def _read(self) -> None:
        assert self._shell.stdout is not None
        with self._shell.stdout as stream:
            for line in stream:
                self._lines.put(line)
        self._lines.put(None)


def _script(kind: str, text: str) -> str:
    if kind in {"sh", "bash"}:
        return text
    if kind != "console":
        raise ValueError(f"a marked block is sh or console, not {kind!r}")
    typed = [line[2:] for line in text.splitlines() if line.startswith(("$ ", "> "))]
    return "\n".join(typed) + "\n"
