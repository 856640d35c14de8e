"""Points in time as signed documents write them: RFC 3339, UTC, whole seconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator

# Not \d, which also takes digits of other scripts: one moment has one spelling.
_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def write_moment(moment: datetime) -> str:
    """Write an aware `moment` as `2027-01-31T00:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_moment(text: str) -> datetime:
    """Read the one form that `write_moment` writes.

    Raises:
        ValueError: another form, or no such day or time.
    """
    if not _FORM.fullmatch(text):
        raise ValueError("a time must be written as 2027-01-31T00:00:00Z")
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _checked(text: str) -> str:
    read_moment(text)
    return text


Moment = Annotated[str, AfterValidator(_checked)]
"""A pydantic field that holds a time in that form."""
