"""Texts that go into files and commands of other tools: what is not plain is refused, never escaped into something else.

Other tools read more into a text than it says: `copy_bom` expands `$NAME` and hands paths to rsync, to which `host:path`
is a machine; SCONE's command line and CAS replace `$NAME`, `$$SCONE::NAME$$` and `@@1`, and split a command at spaces;
YAML reads `yes`, `1e3` and `key: value`. A text of plain characters means the same to all of them.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from paddock.errors import ExecutorOptionInvalid

MAX_PATH_CHARACTERS = 1024
RUN = re.compile(r"[0-9a-f]{32}")
"""The id of a run."""
_PATH = re.compile(r"(/[A-Za-z0-9_.+-]{1,255})+")
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/=-]{0,1023}|-[A-Za-z]{1,2}")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_ADDRESS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?")
_MRENCLAVE = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"([1-9][0-9]{0,5})(MiB|GiB)")
_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}


def plain_path(what: str, path: PurePosixPath | str) -> str:
    """An absolute path of letters, digits and `_ . + -`, without steps upwards.

    Args:
        what: whose path it is, for the error.
        path: as it was given.

    Raises:
        ExecutorOptionInvalid: it holds anything else.
    """
    text = str(path)
    if len(text) > MAX_PATH_CHARACTERS or not _PATH.fullmatch(text) or {".", ".."} & set(text.split("/")):
        raise ExecutorOptionInvalid(
            f"{what}: {_shown(text)} must be an absolute path of letters, digits and _ . + - alone: "
            "it is written into files of other tools."
        )
    return text


def plain_word(what: str, text: str) -> str:
    """One argument, or the value of a variable: no space, quote, `$`, `@`, `:` or control character; `-I` and the like.

    Raises:
        ExecutorOptionInvalid: it holds anything else.
    """
    if not (_WORD.fullmatch(text) or (text.startswith("/") and _PATH.fullmatch(text))):
        raise ExecutorOptionInvalid(f"{what}: {_shown(text)} may not be written into files of other tools.")
    return text


def plain_environment(given: dict[str, str]) -> dict[str, str]:
    """Variables whose names and values are plain; `:` may stand between paths.

    Raises:
        ExecutorOptionInvalid: one is not.
    """
    for name, value in given.items():
        if not _VARIABLE.fullmatch(name):
            raise ExecutorOptionInvalid(f"{_shown(name)} is no name of a variable.")
        for part in value.split(":"):
            plain_word(name, part)
    return dict(given)


def plain_address(what: str, text: str) -> str:
    """A host's name or IPv4 address, with or without a port.

    Raises:
        ExecutorOptionInvalid: it is something else.
    """
    if not _ADDRESS.fullmatch(text):
        raise ExecutorOptionInvalid(f"{what}: {_shown(text)} is written HOST or HOST:PORT.")
    return text


def mrenclave(what: str, text: str) -> str:
    """An enclave's MRENCLAVE: 64 lower-case hex digits.

    Raises:
        ExecutorOptionInvalid: it is something else.
    """
    if not _MRENCLAVE.fullmatch(text):
        raise ExecutorOptionInvalid(f"{what}: {_shown(text)} is not 64 lower-case hex digits.")
    return text


def size(what: str, text: str) -> int:
    """Bytes of a size written as `4GiB` or `512MiB`.

    Raises:
        ExecutorOptionInvalid: it is written otherwise.
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ExecutorOptionInvalid(f"{what}: {_shown(text)} is written like 4GiB or 512MiB.")
    return int(found[1]) * _UNITS[found[2]]


def count(what: str, text: str, least: int, most: int) -> int:
    """A number within bounds.

    Raises:
        ExecutorOptionInvalid: it is none, or out of them.
    """
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise ExecutorOptionInvalid(f"{what}: {_shown(text)} is not a number from {least} to {most}.")
    return int(text)


def _shown(text: str) -> str:
    return ascii(text[:100])
