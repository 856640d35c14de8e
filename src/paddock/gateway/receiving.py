"""Files that a job hands out: checked as they come, before a byte is kept that the contract does not allow.

Only bytes come, so there are no links, devices or modes among them. Source: docs/spec/gateway.md §4.
"""

from __future__ import annotations

from collections.abc import Mapping

from paddock.errors import GatewayBreached, OutputTooLarge
from paddock.gateway.messages import FileMessage, check_path
from paddock.gateway.strict import Buffer

MAX_FILES = 10_000
"""Of one output, and as many folders."""
MAX_PATHS_CHARACTERS = 1 << 20
"""Of all paths of one output together: what a name takes is counted nowhere else."""

Made = dict[str, dict[str, bytes]]
"""Output's name to path to content."""


class Budget:
    """What outputs of a run may still have together: each alone is bounded, and a job may hand out many.

    Args:
        left_bytes: that are left.
    """

    def __init__(self, left_bytes: int) -> None:
        self._left = left_bytes

    def take(self, size: int) -> None:
        """Count these bytes.

        Raises:
            OutputTooLarge: no so many are left (W-16); then none are counted.
        """
        if size > self._left:  # W-16
            raise OutputTooLarge("The outputs of the run would together be larger than they may be.")
        self._left -= size


class Intake:
    """The files of one output, or of a job's state, as they come in.

    Args:
        name: of the output, for messages.
        most_bytes: what they may have together.
        budget: what they share with others; None: nothing, as they are not kept.
    """

    def __init__(self, name: str, most_bytes: int, budget: Budget | None) -> None:
        self._name = name
        self._left = most_bytes
        self._budget = budget
        self._folders: set[str] = set()
        self._named = 0
        self._open: str | None = None
        self._content = bytearray()
        self._missing = 0
        self.files: dict[str, bytes] = {}

    @property
    def is_open(self) -> bool:
        """Whether a file lacks pieces."""
        return self._open is not None

    def begin(self, message: FileMessage) -> None:
        """Take a file's path and size.

        Raises:
            GatewayBreached: a path that none may have, one twice, a file that is also a folder, too many files or
                folders, paths that are too long together (W-15).
            OutputTooLarge: more bytes than are allowed (W-16).
        """
        path = check_path(message.path)
        parents = {path[:at] for at, sign in enumerate(path) if sign == "/"}
        # W-15
        if path in self.files or path in self._folders or parents & self.files.keys():
            raise GatewayBreached("A path twice, or a file that is also a folder.")
        if len(self.files) >= MAX_FILES:
            raise GatewayBreached(f"More than {MAX_FILES} files in '{self._name}'.")
        self._named += len(path)
        self._folders |= parents
        if len(self._folders) > MAX_FILES or self._named > MAX_PATHS_CHARACTERS:
            raise GatewayBreached(f"More folders, or longer paths, than may be in '{self._name}'.")
        if message.size > self._left:  # W-16
            raise OutputTooLarge(f"'{self._name}' would be larger than it may be.")
        if self._budget is not None:
            self._budget.take(message.size)
        self._left -= message.size
        self._missing = message.size
        self._open, self._content = path, bytearray()
        self._finish()

    def piece(self, content: Buffer) -> None:
        """Take the next bytes of the file that is open.

        Raises:
            GatewayBreached: none is open, the piece is empty, or longer than what is missing.
        """
        if self._open is None or not 0 < len(content) <= self._missing:
            raise GatewayBreached("A piece that belongs to no file.")
        self._content += content
        self._missing -= len(content)
        self._finish()

    def _finish(self) -> None:
        if self._open is not None and not self._missing:
            self.files[self._open] = bytes(self._content)
            self._open, self._content = None, bytearray()


class Outputs:
    """All outputs of one job.

    Args:
        most_bytes: the outputs that are taken, each with the bytes that it may have.
        budgets: of each of them, what it shares with others of the run.
    """

    def __init__(self, most_bytes: Mapping[str, int], budgets: Mapping[str, Budget]) -> None:
        self._most_bytes = most_bytes
        self._budgets = budgets
        self.made: Made = {}

    def begin(self, name: str) -> Intake:
        """Where an output's files go.

        Raises:
            GatewayBreached: it is not one that is taken, or comes twice (W-14).
        """
        if name not in self._most_bytes or name in self.made:  # W-14
            raise GatewayBreached("An output that nobody takes, or one twice.")
        intake = Intake(name, self._most_bytes[name], self._budgets[name])
        self.made[name] = intake.files
        return intake
