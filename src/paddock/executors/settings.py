"""Settings of executors and of what is built for them: words that an operator gives as `--option NAME=VALUE`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from paddock.errors import ExecutorOptionInvalid


def read_settings(options: Iterable[str]) -> dict[str, str]:
    """`NAME=VALUE` texts as a mapping.

    Raises:
        ExecutorOptionInvalid: a text has another form, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not (equals and name and value):
            raise ExecutorOptionInvalid(f"It is written NAME=VALUE: '{text[:100]}'.")
        if name in found:
            raise ExecutorOptionInvalid(f"'{name}' is given twice.")
        found[name] = value
    return found


def check_settings(given: Mapping[str, str], known: Iterable[str], *, required: Iterable[str] = ()) -> None:
    """Return if every setting is known and none is missing.

    Raises:
        ExecutorOptionInvalid: one is unknown or missing.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            raise ExecutorOptionInvalid(f"'{name[:100]}' is not among: {', '.join(names) or 'there is none'}.")
    for name in required:
        if name not in given:
            raise ExecutorOptionInvalid(f"'{name}' is missing.")
